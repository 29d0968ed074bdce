"""What `mmsearch train-answers` wrote: `head:DIR`, a small head on a dual encoder; no torch.

DIR/answers.json names the encoder and the answers that the head chooses from, DIR/answers.onnx
is the head.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.answering import Answer
from mmsearch.answering.features import Features, Floats
from mmsearch.answering.labels import best_labels
from mmsearch.cores import usable_cores
from mmsearch.encoders.bundle import read_json
from mmsearch.errors import ModelUnavailable

if TYPE_CHECKING:
    from PIL.Image import Image

    from mmsearch.regions import Regions

FORMAT = 1
FACTS, GRAPH = "answers.json", "answers.onnx"


class Head:
    """A list of answers, scored by the head; their scores sum to 1. Not thread-safe."""

    needs_regions = False

    def __init__(self, features: Features, session: Any, answers: list[str], folder: Path) -> None:
        self._features, self._session = features, session
        self._answers, self._folder = answers, folder
        self._last: tuple[Image, Floats] | None = None  # a picture is asked several questions

    def answer(
        self, image: Image, question: str, *, k: int = 1, regions: Regions | None = None
    ) -> list[Answer]:
        """Return the k likeliest answers. Raises as `Answerer.answer`."""
        del regions
        if self._last is None or self._last[0] is not image:
            pixels = self._features.prepare(image)[None]
            self._last = (image, self._features.pictures(pixels))
        scores = self.scores(self._features.questions([question]), self._last[1])
        return best_labels(scores[0].tolist(), self._answers, k)

    def scores(self, questions: Floats, pictures: Floats) -> Floats:
        """Return (n, answers) probabilities for n questions and their pictures' features.

        Raises:
            ModelUnavailable: the head takes features of other widths.
        """
        try:
            (found,) = self._session.run(None, {"question": questions, "picture": pictures})
        except Exception as error:  # ONNX Runtime's errors share no base class but Exception
            raise ModelUnavailable(
                f"the head in {self._folder} refuses its encoder's features: {error}"
            ) from error
        result: Floats = np.asarray(found)
        return result


def open_head(argument: str, *, threads: int | None, device: str | None) -> Head:
    """Return the answerer in a folder. It runs on the CPU, whatever the device.

    Raises:
        ModelUnavailable: the folder holds no head, it is damaged, or its encoder is not to be
            had or has other weights than when the head was trained.
    """
    del device
    folder = Path(argument).expanduser()
    if not (folder / FACTS).is_file():
        raise ModelUnavailable(
            f"{folder if argument else '(no folder)'} holds no {FACTS}: mmsearch train-answers "
            "--out has not written it"
        )
    facts = read_json(folder / FACTS)
    answers = facts.get("answers")
    if facts.get("format") != FORMAT or not isinstance(answers, list):
        raise ModelUnavailable(
            f"{folder / FACTS} is of format {facts.get('format')!r}, not {FORMAT}"
        )
    features = Features(str(facts.get("model")), threads=threads)
    if features.name != facts.get("space"):
        raise ModelUnavailable(
            f"the head in {folder} was trained on {facts.get('space')}, but {facts.get('model')} "
            f"is {features.name} now; train it again"
        )
    session = _open(folder / GRAPH, threads or usable_cores())
    return Head(features, session, [str(a) for a in answers], folder)


def _open(path: Path, threads: int) -> Any:
    import onnxruntime as ort

    from mmsearch.encoders.sessions import session_options

    options = session_options(threads=threads, optimized=False, brief=True)
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # as above
        raise ModelUnavailable(f"{path} is not a working ONNX model: {error}") from error
