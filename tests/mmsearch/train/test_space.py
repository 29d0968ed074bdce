"""What may be searched, as the user says it."""

from __future__ import annotations

import pytest

from mmsearch.errors import BadSource, UnknownName
from mmsearch.train.config import TrainConfig
from mmsearch.train.space import DEFAULT, Choices, Range, build_space, parse_axis


def space_of(*asked: str, fixed: tuple[str, ...] = (), pictures: int = 1000, **choices):
    config = TrainConfig(**choices)
    return build_space(asked, config=config, fixed=fixed, pictures=pictures)[0]


@pytest.mark.parametrize(
    ("text", "axis"),
    [
        ("head_lr=1e-4:1e-2:log", Range(1e-4, 1e-2, log=True)),
        ("head-lr = 0.1:0.2", Range(0.1, 0.2)),
        ("batch_size=16,32", Choices((16, 32))),
        ("lora=2:8", Range(2, 8)),
        ("loss=clip,siglip", Choices(("clip", "siglip"))),
        ("dropout=off", None),
    ],
)
def test_an_axis_is_a_range_a_list_or_off(text, axis):
    assert parse_axis(text)[1] == axis


def test_a_range_of_whole_numbers_gives_whole_numbers():
    assert parse_axis("batch_size=8:64")[1].whole
    assert not parse_axis("lr=1:2")[1].whole


@pytest.mark.parametrize(
    "text",
    ["lr", "lr=", "lr=2:1", "lr=0:1:log", "lr=1:2:3", "lr=a,b", "batch_size=1.5:3", "loss=a:b"],
)
def test_what_is_no_axis_is_named(text):
    with pytest.raises(BadSource, match=r"--space"):
        parse_axis(text)


def test_a_name_that_is_almost_right_is_guessed():
    with pytest.raises(BadSource, match="did you mean 'head_lr'"):
        parse_axis("heads_lr=1:2")


def test_without_a_word_the_rates_the_batch_and_the_regularisers_are_searched():
    assert space_of() == dict(DEFAULT)


def test_a_value_that_is_given_is_not_searched():
    assert "batch_size" not in space_of(fixed=("batch_size",))
    assert not space_of(fixed=("lr",)).keys() & {"image_lr", "text_lr"}
    assert space_of("dropout=0.1,0.2")["dropout"] == Choices((0.1, 0.2))
    assert "dropout" not in space_of("dropout=off")


def test_a_value_cannot_be_given_and_searched():
    with pytest.raises(BadSource, match="fixed by its own option"):
        space_of("dropout=0:0.3", fixed=("dropout",))


def test_rates_of_frozen_towers_are_left_out_and_it_is_said():
    config = TrainConfig(freeze="both")
    space, said = build_space((), config=config, fixed=(), pictures=1000)
    assert not space.keys() & {"image_lr", "text_lr", "layer_decay"}
    assert said[0] == "image_lr is not searched: the image tower is frozen"
    assert "text_lr" in space_of(freeze="image")
    assert "image_lr" in space_of("image_blocks=1,2", freeze="none", image_blocks=0)


def test_no_batch_is_larger_than_the_set():
    assert space_of(pictures=100)["batch_size"] == Choices((32, 64))
    assert space_of(pictures=9)["batch_size"] == Choices((32,))


def test_a_value_that_training_would_not_take_is_refused_before_it_begins():
    with pytest.raises(BadSource, match=r"dropout is 1\.5"):
        space_of("dropout=0:1.5")
    with pytest.raises(UnknownName, match="unknown loss"):
        space_of("loss=clip,hinge")


def test_a_search_for_nothing_is_refused():
    with pytest.raises(BadSource, match="nothing is left"):
        space_of(fixed=tuple(DEFAULT))


class Drawn:
    """An optuna trial that has drawn this very number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def suggest_float(self, name: str, low: float, high: float, *, log: bool) -> float:
        return self.value


def test_what_is_drawn_has_three_digits_and_stays_within():
    assert Range(0.0, 1.0).draw(Drawn(0.123456), "ema") == 0.123
    assert Range(0.0, 0.9996).draw(Drawn(0.99955), "ema") == 0.9996
