"""A text's phrases: what is said between its small words."""

from __future__ import annotations

import re

# Words that name nothing to be seen. English, as most encoders are; in another language a text
# comes back in fewer, longer phrases.
SMALL = frozenset(
    re.findall(
        r"\w+",
        """
a about above across after against all along also among an and another any are around as at away
be because been before behind being below beneath beside between both but by can could did do does
down during each for from had has have having he her here hers him his how i if in inside into is
it its itself just like many me more most my near next no not of off on one onto or other our out
outside over own past she so some such than that the their them then there these they this those
through to together toward towards under until up upon us very via was we were what when where
which while who whose why will with within without you your
""",
    )
)
_WORD = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")


def phrases(text: str) -> list[str]:
    """Return a text's phrases in their order, each once: the words between small words and marks.

    "A black dog runs through the snow" has "black dog runs" and "snow". A text without small
    words is one phrase.
    """
    found: list[str] = []
    for part in re.split(r"[^\w\s'’-]+", text):
        run: list[str] = []
        for word in [*_WORD.findall(part), ""]:
            if word and word.lower() not in SMALL:
                run.append(word)
            elif run:
                found.append(" ".join(run))
                run = []
    return list(dict.fromkeys(found))
