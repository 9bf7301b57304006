"""The words of a simulation: prompts, and responses that show their traits and correctness in what they say.

Templates write ``[big|large]`` where two words mean the same, and ``{topic}`` or ``{answer}`` where a prompt's own
words go.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Kind = Literal["single", "multiple"]

TRAITS = ("formal", "detailed", "example", "cautious", "humorous")

_PERSONAS = (
    "a student", "a nurse", "a retired teacher", "a programmer", "a parent of two", "a farmer",
    "new in town", "a cook", "an office worker", "a musician",
)  # fmt: skip
_CLOSINGS = (
    "", "Thanks in advance.", "I have wondered about this for a while.", "A friend asked me today.",
    "It came up at lunch.", "I could not find it elsewhere.",
)  # fmt: skip


@dataclass(frozen=True)
class Dataset:
    """What one simulated data set talks about."""

    domain: Literal["in", "out"]
    facts: tuple[tuple[str, str, str], ...]
    """Question, sentence with ``{answer}``, the right answer."""
    wrong: tuple[str, ...]
    """Answers that fit no question: things of another kind."""
    asking: tuple[str, ...]
    topics: tuple[str, ...]
    ideas: tuple[str, ...]
    formal: tuple[str, ...]
    casual: tuple[str, ...]

    def count(self, kind: str) -> int:
        """Count the different prompts of a kind."""
        questions = len(self.facts) if kind == "single" else len(self.asking) * len(self.topics)
        return questions * len(_PERSONAS) * len(_CLOSINGS)


@dataclass(frozen=True)
class Prompt:
    """A prompt, and what its responses can say."""

    text: str
    dataset: str
    kind: Kind
    subject: str
    """The topic; or, to a question with one answer, the sentence that answers it."""
    answer: str = ""


@dataclass(frozen=True)
class Sketch:
    """All that decides a response's words."""

    traits: tuple[int, ...]
    """0 or 1 for each of `TRAITS`."""
    correct: int
    """1 right, 0 wrong; always 0 where several answers are."""
    phrases: tuple[int, ...]
    """Which of several phrases each sentence takes."""
    synonyms: tuple[int, ...]
    """Which of two words each choice between synonyms takes, again and again from the start."""


DATASETS = {
    "sim-chat": Dataset(
        domain="in",
        facts=(
            ("What is the capital of France?", "The capital of France is {answer}.", "Paris"),
            ("What is the capital of Japan?", "The capital of Japan is {answer}.", "Tokyo"),
            ("What is the capital of Egypt?", "The capital of Egypt is {answer}.", "Cairo"),
            ("What is the capital of Italy?", "The capital of Italy is {answer}.", "Rome"),
            ("Which planet is closest to the sun?", "The planet closest to the sun is {answer}.", "Mercury"),
            ("Which planet has the largest rings?", "The planet with the largest rings is {answer}.", "Saturn"),
            ("Which language is spoken in Brazil?", "The language spoken in Brazil is {answer}.", "Portuguese"),
            ("Who wrote Hamlet?", "Hamlet was written by {answer}.", "William Shakespeare"),
            ("Who painted the Mona Lisa?", "The Mona Lisa was painted by {answer}.", "Leonardo da Vinci"),
            ("Which gas do plants take in from the air?", "Plants take in {answer} from the air.", "carbon dioxide"),
            ("What is the tallest animal?", "The tallest animal is {answer}.", "the giraffe"),
            ("Which ocean is the largest?", "The largest ocean is {answer}.", "the Pacific"),
        ),
        wrong=("a bicycle pump", "half past nine", "a bowl of soup", "the letter Q", "a wool sweater", "next Tuesday"),
        asking=(
            "How should I spend a free weekend on {topic}?",
            "What do you think of {topic} as a hobby?",
            "How do I begin with {topic}?",
            "Is {topic} worth my time?",
        ),
        topics=(
            "gardening", "chess", "photography", "baking bread", "hiking", "learning the guitar", "watercolours",
            "bird watching", "running", "writing short stories", "model trains", "astronomy", "pottery", "cycling",
        ),
        ideas=(
            "Starting {topic} with a [little|small] plan is a [good|fine] way in.",
            "Going to a group for {topic} makes it [easy|simple] to keep at it.",
            "Setting aside [some|a bit of] time for {topic} every week works [well|nicely].",
            "Borrowing what {topic} needs before [buying|purchasing] it is [wise|sensible].",
        ),
        formal=(
            "I am [pleased|glad] to provide an answer to your inquiry.",
            "Thank you for your question; please [allow|permit] me to respond.",
        ),
        casual=(
            "Hey, [cool|great] question!",
            "Oh sure, no [problem|worries], here you go!",
        ),
    ),
    "sim-advice": Dataset(
        domain="out",
        facts=(
            ("At what temperature does water boil at sea level?", "At sea level water boils at {answer}.",
             "one hundred degrees Celsius"),
            ("How many days does a leap year have?", "A leap year has {answer}.", "three hundred and sixty-six days"),
            ("Which vitamin does sunlight give the skin?", "Sunlight gives the skin {answer}.", "vitamin D"),
            ("Which number do I call for an ambulance in Germany?", "For an ambulance in Germany, call {answer}.",
             "one one two"),
            ("Which metal is in most electric cables?", "Most electric cables are made of {answer}.", "copper"),
            ("Which organ cleans the blood?", "The organ that cleans the blood is {answer}.", "the kidney"),
        ),
        wrong=("a violin concerto", "the colour purple", "a game of tennis", "the second floor", "a paper lantern"),
        asking=(
            "I am worried about {topic}. What would you do?",
            "What is a fair way to deal with {topic}?",
            "Can you give me advice on {topic}?",
        ),
        topics=(
            "a noisy neighbour", "a quarrel with my brother", "saving money", "a new job in another city", "poor sleep",
            "my son's homework", "an old car that breaks down", "asking for a raise", "a wedding invitation",
            "caring for my mother",
        ),
        ideas=(
            "With {topic}, an [open|honest] talk comes first.",
            "For {topic}, writing down what matters [helps|is useful].",
            "When it comes to {topic}, [waiting|pausing] a week shows a lot.",
        ),
        formal=(
            "One would be well advised to [consider|weigh] the matter with care.",
            "I should like to offer the following [counsel|guidance].",
        ),
        casual=(
            "Ugh, been there, [buddy|pal], totally get it!",
            "Okay so, [honestly|frankly], here's the deal!",
        ),
    ),
}  # fmt: skip

_DETAILED = (
    "To go into detail, there are three points: how it [began|started], what it [needs|takes], and where it leads, "
    "and each of them is looked at step by step in every [guide|handbook] on the subject.",
    "In more depth: the background goes back many years, several [parts|pieces] work together, and the order in which "
    "they come [explains|accounts for] most of what people [see|notice].",
)
_EXAMPLE = (
    "For example, my neighbour Anna [met|saw] exactly this last [spring|year].",
    "For instance, [imagine|picture] a small [shop|store] where this happens daily.",
)
_CAUTIOUS = (
    "It may depend, though, and I [could|might] be mistaken, so please [check|verify] it.",
    "I am not [fully|entirely] certain, and it is perhaps [safer|better] to ask an expert too.",
)
_BOLD = (
    "There is no doubt about it, [trust|believe] me.",
    "That is [definitely|absolutely] it, full stop.",
)
_HUMOROUS = (
    "And if not, blame the cat, who [runs|rules] this place anyway, ha ha!",
    "My goldfish [laughed|giggled] at that one, but he forgets [jokes|gags] quickly, lol!",
)


def draw_prompts(dataset: str, kind: Kind, count: int, generator: np.random.Generator) -> list[Prompt]:
    """Draw ``count`` different prompts; at most ``DATASETS[dataset].count(kind)``."""
    source = DATASETS[dataset]
    questions = source.facts if kind == "single" else tuple(itertools.product(source.asking, source.topics))
    every = list(itertools.product(questions, _PERSONAS, _CLOSINGS))
    prompts = []
    for index in generator.choice(len(every), size=count, replace=False).tolist():
        question, persona, closing = every[index]
        if kind == "single":
            ask, subject, answer = question[0], question[1], question[2]
        else:
            ask, subject, answer = question[0].replace("{topic}", question[1]), question[1], ""
        text = " ".join(part for part in (f"I am {persona}.", ask, closing) if part)
        prompts.append(Prompt(text, dataset, kind, subject, answer))
    return prompts


def draw_sketch(prompt: Prompt, generator: np.random.Generator, *, correct: bool | None = None) -> Sketch:
    """Draw a response's traits and words; ``correct`` settles whether it is right, else a coin does."""
    right = bool(generator.random() < 0.5) if correct is None else correct
    return Sketch(
        traits=tuple(generator.integers(2, size=len(TRAITS)).tolist()),
        correct=int(right and prompt.kind == "single"),
        phrases=tuple(generator.integers(60, size=len(TRAITS) + 1).tolist()),
        synonyms=tuple(generator.integers(2, size=8).tolist()),
    )


def paraphrase(sketch: Sketch, generator: np.random.Generator) -> Sketch:
    """Say the same in other words: at least one choice between synonyms differs, each with an even chance."""
    flips = generator.integers(2, size=len(sketch.synonyms))
    flips[0] = 1  # every response has a choice at the start
    return replace(sketch, synonyms=tuple((np.array(sketch.synonyms) ^ flips).tolist()))


def render(prompt: Prompt, sketch: Sketch) -> str:
    """Write the response that a sketch describes."""
    source = DATASETS[prompt.dataset]
    formal, detailed, example, cautious, humorous = sketch.traits
    sentences = [
        _pick(source.formal if formal else source.casual, sketch.phrases[0]),
        _core(prompt, sketch),
        _pick(_CAUTIOUS if cautious else _BOLD, sketch.phrases[3]),
    ]
    if example:
        sentences.insert(2, _pick(_EXAMPLE, sketch.phrases[2]))
    if detailed:
        sentences.insert(2, _pick(_DETAILED, sketch.phrases[1]))
    if humorous:
        sentences.append(_pick(_HUMOROUS, sketch.phrases[4]))
    choices = itertools.cycle(sketch.synonyms)
    return re.sub(r"\[([^|\]]*)\|([^\]]*)\]", lambda match: match[1 + next(choices)], " ".join(sentences))


def _core(prompt: Prompt, sketch: Sketch) -> str:
    """Say what the response is about: the answer, right or wrong, or an idea about the topic."""
    source = DATASETS[prompt.dataset]
    if prompt.kind == "multiple":
        return _pick(source.ideas, sketch.phrases[5]).replace("{topic}", prompt.subject)
    answer = prompt.answer if sketch.correct else _pick(source.wrong, sketch.phrases[5])
    return prompt.subject.replace("{answer}", answer)


def _pick(phrases: tuple[str, ...], number: int) -> str:
    return phrases[number % len(phrases)]
