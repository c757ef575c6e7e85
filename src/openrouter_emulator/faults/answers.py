"""Answers that say too little, the wrong thing, or nothing."""

import base64
from dataclasses import replace
from typing import Any

from openrouter_emulator.chat.generation import Answer, Generation
from openrouter_emulator.faults.fault import Parameters, Stage, also, fault
from openrouter_emulator.images.png import draw_png
from openrouter_emulator.tokens import split_tokens

THOUGHT = tuple(split_tokens("All of the budget went into this simulated thinking, and none is left for the answer."))


@fault(
    "empty_answer",
    Stage.ANSWER,
    "a success without a single token; `finish` may name a finish reason",
    quirks=(16,),
    finish="",
)
def empty_answer(_answer: Answer, parameters: Parameters) -> Answer:
    return Answer(finish_reason=parameters.text("finish") or None)


@fault("stop_without_content", Stage.ANSWER, "`stop`, nothing to read, and nine tokens billed", quirks=(20,))
def stop_without_content(_answer: Answer, _parameters: Parameters) -> Answer:
    return Answer(reasoning=THOUGHT[:9], reasoning_shown=False)


@fault("reasoning_only", Stage.ANSWER, "the answer stands in the reasoning, the content is empty", quirks=(20,))
def reasoning_only(answer: Answer, _parameters: Parameters) -> Answer:
    return replace(answer, reasoning=answer.reasoning + answer.tokens, tokens=(), reasoning_style="text")


@fault("length_in_reasoning", Stage.ANSWER, "`length` with empty text: all tokens went into thinking", quirks=(20,))
def length_in_reasoning(answer: Answer, _parameters: Parameters) -> Answer:
    return replace(answer, reasoning=answer.reasoning or THOUGHT, tokens=(), finish_reason="length")


@fault("think_tags", Stage.ANSWER, "`<think>` tags inside the text", quirks=(20,))
def think_tags(answer: Answer, _parameters: Parameters) -> Answer:
    return replace(answer, tokens=("<think>", "\n", *THOUGHT, "\n", "</think>", "\n\n", *answer.tokens))


@fault("stray_think_end", Stage.ANSWER, "the text follows a stray `</think>` inside the reasoning", quirks=(20,))
def stray_think_end(answer: Answer, _parameters: Parameters) -> Answer:
    return replace(answer, reasoning=(*THOUGHT, "</think>", *answer.tokens), tokens=(), reasoning_style="text")


@fault("no_finish_reason", Stage.ANSWER, "text, then the end, and never a finish reason", quirks=(16,))
def no_finish_reason(answer: Answer, _parameters: Parameters) -> Answer:
    return replace(answer, finish_reason=None)


@fault(
    "finish_reason", Stage.ANSWER, "any finish reason, such as an unmapped `end_turn`", quirks=(19,), value="end_turn"
)
def finish_reason(answer: Answer, parameters: Parameters) -> Answer:
    return replace(answer, finish_reason=parameters.text("value"), native_finish_reason=parameters.text("value"))


@fault(
    "native_finish_reason",
    Stage.ANSWER,
    "any native finish reason beside the usual one",
    quirks=(18, 19),
    value="MALFORMED_FUNCTION_CALL",
)
def native_finish_reason(answer: Answer, parameters: Parameters) -> Answer:
    return replace(answer, native_finish_reason=parameters.text("value"))


@fault("refusal", Stage.ANSWER, "`refusal` text beside `content: null`", quirks=(15,), text="I cannot help with that.")
def refusal(_answer: Answer, parameters: Parameters) -> Answer:
    text = parameters.text("text")
    return Answer(refusal=text, reasoning=tuple(split_tokens(text)), reasoning_shown=False)


@fault("long_answer", Stage.ANSWER, "the answer goes on for so many tokens", tokens=5_000)
def long_answer(answer: Answer, parameters: Parameters) -> Answer:
    wanted = parameters.count("tokens")
    unit = (*answer.tokens, "\n\n")
    return replace(answer, tokens=(unit * (wanted // len(unit) + 1))[:wanted])


@fault(
    "json_shape",
    Stage.ANSWER,
    "structured output gone wrong: fenced, cut, prose, mismatch, trailing_comma, empty_object",
    shape="mismatch",
)
def json_shape(answer: Answer, parameters: Parameters) -> Answer:
    text = answer.text
    shapes = {
        "fenced": f"Here it is:\n\n```json\n{text}\n```",
        "cut": text[: len(text) * 2 // 3],
        "prose": "I would rather answer in a simulated sentence than in JSON.",
        "mismatch": '{"unexpected":[1,"two",null]}',
        "trailing_comma": text.rstrip().removesuffix("}") + ",}",
        "empty_object": "{}",
    }
    return replace(answer, tokens=tuple(split_tokens(shapes.get(parameters.text("shape"), shapes["mismatch"]))))


@fault("no_image", Stage.ANSWER, "a picture was asked for, only text comes", quirks=(43,))
def no_image(answer: Answer, _parameters: Parameters) -> Answer:
    text = split_tokens("I can describe this picture, but I have not drawn it.")
    return replace(answer, images=(), image_tokens=0, tokens=tuple(text))


@fault("broken_image", Stage.ANSWER, "the picture's bytes are not a picture", quirks=(43,))
def broken_image(answer: Answer, _parameters: Parameters) -> Answer:
    junk = base64.b64encode(b"\x89PNG\r\n\x1a\nnot a picture").decode()
    return replace(answer, images=tuple(_like(url, junk) for url in answer.images))


@fault("fewer_images", Stage.ANSWER, "some of the pictures are missing, all are billed", quirks=(43,), count=1)
def fewer_images(answer: Answer, parameters: Parameters) -> Answer:
    return replace(answer, images=answer.images[: parameters.count("count")])


@fault("other_ratio", Stage.ANSWER, "the picture is a square, whatever was asked for", quirks=(43,), side=256)
def other_ratio(answer: Answer, parameters: Parameters) -> Answer:
    side = parameters.count("side")
    square = base64.b64encode(draw_png("another ratio", side, side)).decode()
    return replace(answer, images=tuple(_like(url, square) for url in answer.images))


def _like(original: str, content: str) -> str:
    return f"data:image/png;base64,{content}" if original.startswith("data:") else content


@fault(
    "reasoning_style",
    Stage.ANSWER,
    "kind of details: text, summary, signed, signature, encrypted, hidden",
    quirks=(25, 26),
    style="hidden",
)
def reasoning_style(answer: Answer, parameters: Parameters) -> Answer:
    return replace(answer, reasoning=answer.reasoning or THOUGHT, reasoning_style=parameters.text("style"))


@fault("empty_annotations", Stage.ANSWER, "`annotations: []`", quirks=(45,))
def empty_annotations(answer: Answer, _parameters: Parameters) -> Answer:
    return replace(answer, annotations=())


@fault(
    "odd_citations",
    Stage.ANSWER,
    "citations with all offsets 0 (zero_offsets), without content (no_content), each twice (twice), with places behind "
    "the end of the text (beyond), or to addresses that run something (unsafe)",
    quirks=(44,),
    shape="zero_offsets",
)
def odd_citations(answer: Answer, parameters: Parameters) -> Answer:
    shape = parameters.text("shape")
    times = 2 if shape == "twice" else 1
    return replace(
        answer, annotations=tuple(_odd(one, shape) for one in answer.annotations or () for _ in range(times))
    )


def _odd(annotation: dict[str, Any], shape: str) -> dict[str, Any]:
    cited = dict(annotation.get("url_citation") or {})
    if not cited:
        return annotation
    if shape == "no_content":
        cited.pop("content", None)
    elif shape == "beyond":
        cited["end_index"] += 1_000_000
    elif shape == "unsafe":
        cited["url"] = "javascript:alert(document.cookie)"
    elif shape != "twice":
        cited |= {"start_index": 0, "end_index": 0}
    return annotation | {"url_citation": cited}


@fault("nameless_file_annotation", Stage.ANSWER, "a parsed document comes back without its name", quirks=(45,))
def nameless_file(answer: Answer, _parameters: Parameters) -> Answer:
    kept = tuple(
        one | {"file": {key: value for key, value in one["file"].items() if key != "name"}} if "file" in one else one
        for one in answer.annotations or ()
    )
    return replace(answer, annotations=kept)


@fault("byok", Stage.GENERATION, "the caller's own key: cost 0, the money in the upstream cost", quirks=(30,))
def byok(generation: Generation, _parameters: Parameters) -> None:
    generation.byok = True


@fault("charged_empty", Stage.ANSWER, "nothing was written, yet the prompt is charged", quirks=(30,))
def charged_empty(_answer: Answer, _parameters: Parameters) -> Answer:
    return Answer(finish_reason=None)


@also("charged_empty", Stage.GENERATION)
def without_insurance(generation: Generation, _parameters: Parameters) -> None:
    generation.insured = False
