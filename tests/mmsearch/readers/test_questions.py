"""VQA and GQA: as pictures with captions, and question by question."""

import json
from pathlib import Path
from typing import Any

import pytest

from mmsearch.errors import BadSource
from mmsearch.readers import read, read_questions
from mmsearch.readers.questions import Question
from mmsearch.types import Sample, Skipped
from tests.mmsearch.readers.test_shared_data import data

QUESTIONS = "v2_OpenEnded_mscoco_train2014_questions.json"
ANNOTATIONS = "v2_mscoco_train2014_annotations.json"
HEAD = {
    "info": {"year": 2017, "version": "2.0"},
    "task_type": "Open-Ended",
    "data_type": "mscoco",
    "license": {"name": "CC BY 4.0"},
    "data_subtype": "train2014",
}
ASKED = [
    {"image_id": 9, "question": "What color are the dishes?", "question_id": 9000},
    {"image_id": 25, "question": "Is it day?", "question_id": 25000},
    {"image_id": 9, "question": "How many dishes?", "question_id": 9001},
    {"image_id": 9, "question": "Unanswered?", "question_id": 9002},
    {"image_id": 30, "question": "Where is it?", "question_id": 30000},
    {"question": "No picture?", "question_id": 1},
]
GQA = {
    "02930152": {
        "semantic": [{"operation": "select", "dependencies": [], "argument": "sky (2486325)"}],
        "entailed": ["02930160"], "equivalent": ["02930152"], "question": "Is the sky dark?",
        "imageId": "2354786", "isBalanced": True,
        "groups": {"global": None, "local": "06-sky_dark"},
        "answer": "yes", "semanticStr": "select: sky (2486325)->verify color: dark [0]",
        "annotations": {"answer": {}, "question": {"2": "2486325"}, "fullAnswer": {"2": "2486325"}},
        "types": {"detailed": "verifyAttr", "semantic": "attr", "structural": "verify"},
        "fullAnswer": "Yes, the sky is dark.",
    },
    "07333408": {
        "question": "What is on the white wall?", "imageId": "2375429", "answer": "pipe",
        "fullAnswer": "The pipe is on the wall.",
    },
    "07333409": {
        "question": "Is it night?", "imageId": "2354786", "answer": "yes",
        "fullAnswer": "yes, the sky is dark.",
    },
    "1": {"question": "Lost?", "imageId": "404", "answer": "yes", "fullAnswer": "Yes."},
    "2": {"question": "No picture?"},
}  # fmt: skip


def note(number: int, best: str, answers: list[str], kind: str) -> dict[str, Any]:
    given = [
        {"answer": a, "answer_confidence": "yes", "answer_id": n}
        for n, a in enumerate(answers, start=1)
    ]
    return {
        "question_type": "what", "multiple_choice_answer": best, "answers": given,
        "image_id": number // 1000, "answer_type": kind, "question_id": number,
    }  # fmt: skip


NOTES = [
    note(9000, "white", ["white", "grey", "white"], "other"),
    note(25000, "yes", ["yes", "no", "yes"], "yes/no"),
    note(9001, "4", ["4", "4", "5"], "number"),
    note(30000, "park", ["park"], "other"),
]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)


@pytest.fixture
def vqa(tmp_path: Path) -> Path:
    touch(tmp_path, "train2014/COCO_train2014_000000000009.jpg")
    touch(tmp_path, "train2014/COCO_train2014_000000000025.jpg")
    (tmp_path / QUESTIONS).write_text(json.dumps(HEAD | {"questions": ASKED}))
    (tmp_path / ANNOTATIONS).write_text(json.dumps(HEAD | {"annotations": NOTES}))
    return tmp_path / QUESTIONS


@pytest.fixture
def gqa(tmp_path: Path) -> Path:
    touch(tmp_path, "images/2354786.jpg", "images/2375429.jpg")
    (tmp_path / "questions1.2").mkdir()
    path = tmp_path / "questions1.2" / "train_balanced_questions.json"
    path.write_text(json.dumps(GQA))
    return path


def captions(path: Path) -> list[tuple[str, tuple[str, ...]]]:
    return [(Path(s.path).name, s.captions) for s in read(str(path)) if isinstance(s, Sample)]


def reasons(found: Any) -> list[str]:
    return [s.reason for s in found if isinstance(s, Skipped)]


def test_a_caption_of_vqa_is_the_question_with_the_answer_of_most(vqa):
    assert captions(vqa) == [
        (
            "COCO_train2014_000000000009.jpg",
            ("What color are the dishes? white", "How many dishes? 4"),
        ),
        ("COCO_train2014_000000000025.jpg", ("Is it day? yes",)),
    ]
    assert reasons(read(str(vqa))) == [
        "question 6: no image_id or no question",
        "question 5: no such file",
    ]


def test_each_question_of_vqa_has_all_its_answers(vqa):
    found = [q for q in read_questions(str(vqa)) if isinstance(q, Question)]
    assert [(q.id, q.answers, q.kind) for q in found] == [
        ("9000", ("white", "grey", "white"), "other"),
        ("25000", ("yes", "no", "yes"), "yes/no"),
        ("9001", ("4", "4", "5"), "number"),
        ("9002", (), ""),
    ]
    assert found[0].question == "What color are the dishes?"
    assert found[0].picture is found[2].picture
    assert Path(found[1].picture.path).name == "COCO_train2014_000000000025.jpg"
    assert reasons(read_questions(str(vqa))) == [
        "question 5: no such file",
        "question 6: no image_id or no question",
    ]


def test_answers_of_people_without_a_type_are_of_the_type_other(vqa):
    notes = [{k: v for k, v in note.items() if k != "answer_type"} for note in NOTES]
    (vqa.parent / ANNOTATIONS).write_text(json.dumps(HEAD | {"annotations": notes}))
    found = [q for q in read_questions(str(vqa)) if isinstance(q, Question)]
    assert [q.kind for q in found if q.answers] == ["other"] * 3


def test_test_questions_have_pictures_and_no_captions(tmp_path):
    # "test-dev" is a part of the questions; the pictures are those of test2015.
    touch(tmp_path, "test2015/COCO_test2015_000000000009.jpg")
    path = tmp_path / "v2_OpenEnded_mscoco_test-dev2015_questions.json"
    head = HEAD | {"data_subtype": "test-dev2015"}
    path.write_text(json.dumps(head | {"questions": ASKED[:1]}))
    assert captions(path) == [("COCO_test2015_000000000009.jpg", ())]


def test_the_pictures_of_vqa_may_have_the_names_of_coco_2017(vqa, tmp_path):
    (tmp_path / "train2014" / "COCO_train2014_000000000025.jpg").unlink()
    touch(tmp_path, "train2017/000000000025.jpg")
    assert captions(vqa)[1] == ("000000000025.jpg", ("Is it day? yes",))


def test_the_subset_may_stand_after_the_questions(vqa):
    vqa.write_text(json.dumps({"questions": ASKED[:1], "data_subtype": "train2014"}))
    assert len(captions(vqa)) == 1


def test_the_answers_alone_say_which_file_to_give(vqa):
    path = str(vqa.with_name(ANNOTATIONS))
    for reader in (read, read_questions):
        with pytest.raises(BadSource, match="VQA's answers; give the file of questions"):
            list(reader(path))


def test_damaged_answers_are_no_missing_answers(vqa):
    vqa.with_name(ANNOTATIONS).write_text('{"annotations": [')
    with pytest.raises(BadSource, match=f"{ANNOTATIONS} is no JSON"):
        list(read(str(vqa)))


def test_a_caption_of_gqa_is_the_full_answer(gqa):
    assert captions(gqa) == [
        ("2354786.jpg", ("Yes, the sky is dark.",)),
        ("2375429.jpg", ("The pipe is on the wall.",)),
    ]
    assert reasons(read(str(gqa))) == [
        "question 2: no imageId or no question",
        "question 1: no such file",
    ]


def test_each_question_of_gqa_has_its_answer(gqa):
    found = [q for q in read_questions(str(gqa)) if isinstance(q, Question)]
    assert [(q.id, q.question, q.answers) for q in found] == [
        ("02930152", "Is the sky dark?", ("yes",)),
        ("07333408", "What is on the white wall?", ("pipe",)),
        ("07333409", "Is it night?", ("yes",)),
    ]


@pytest.mark.parametrize("name", ["vqa", "gqa"])
def test_each_file_of_questions_is_one_split(request, name):
    path = str(request.getfixturevalue(name))
    for reader in (read, read_questions):
        with pytest.raises(BadSource, match=f"no splits: a file of {name.upper()} is one"):
            list(reader(path, split="test"))


def test_a_list_qa_beside_the_pictures_has_splits(tmp_path):
    touch(tmp_path, "a.jpg")
    asked = [
        {"image": "a.jpg", "question": "what ?", "answers": ["clock", "lamp"], "split": "test"},
        {"image": "a.jpg", "question": "who ?", "answers": ["bob"], "split": "train"},
        {"image": "b.jpg", "question": "where ?", "answers": [], "split": "test"},
        {"image": "a.jpg"},
    ]
    path = tmp_path / "dataset.json"
    path.write_text(json.dumps({"images": [{"filename": "a.jpg"}], "qa": asked}))
    found = list(read_questions(str(path), split="test"))
    assert [(q.id, q.answers) for q in found if isinstance(q, Question)] == [
        ("1", ("clock", "lamp"))
    ]
    assert reasons(found) == ["question 3: no such file", "question 4: no image or no question"]


@pytest.mark.parametrize("content", ['{"images": []}', "[]", '[{"regions": [], "id": 1}]', "{"])
def test_a_file_without_questions_says_what_was_expected(tmp_path, content):
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(BadSource, match=r"has no questions; expected|is no JSON"):
        list(read_questions(str(tmp_path / "x.json")))


def test_the_questions_of_daquar_are_read_whole():
    path = str(data("daquar") / "dataset.json")
    found = list(read_questions(path))
    assert all(isinstance(q, Question) and q.answers for q in found)
    assert len(found) == 7376
    # Of two of its 854 pictures nothing is asked.
    assert len({q.picture.item.key for q in found if isinstance(q, Question)}) == 852
