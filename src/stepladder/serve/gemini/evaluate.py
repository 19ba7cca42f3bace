"""`evaluateInstances` of Vertex: exact match, BLEU and ROUGE, in both forms that clients send.

One metric's input holds many instances (`rougeInput`), or one instance comes with its metrics.
Metrics that ask a model to judge are refused by name. What the figures are: `text_metrics.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request

from ...core import Json
from ...errors import MissingExtra
from .. import Caller, Refusal
from ..keys import caller_of
from .bodies import read_body
from .forms import anything, each, flag, message, text
from .spelling import camel_case
from .text_metrics import Scorer, bleu, exact_match, rouge

__all__ = ["METRIC", "evaluate_instances", "kind_of_metric", "refuse_judged", "router", "scorer_of"]

router = APIRouter()

EXACT = message({})
BLEU = message({"useEffectiveOrder": flag})
ROUGE = message({"rougeType": text, "useStemmer": flag, "splitSummaries": flag})
INSTANCES = each(message({"prediction": text, "reference": text},
                         required=("prediction", "reference")))  # fmt: skip
COMPUTED = message({"type": text, "parameters": anything}, required=("type",))
SPECS = {"exactMatch": EXACT, "bleu": BLEU, "rouge": ROUGE}
INPUTS = {
    f"{name}Input": message({"instances": INSTANCES, "metricSpec": spec}, required=("instances",))
    for name, spec in SPECS.items()
}
METRIC = message({
    **{f"{name}Spec": spec for name, spec in SPECS.items()},
    "computationBasedMetricSpec": COMPUTED,
    "aggregationMetrics": each(text),
    "metadata": anything,
})  # fmt: skip
METRICS = frozenset({*(f"{name}Spec" for name in SPECS), "computationBasedMetricSpec"})
TYPES = {"EXACT_MATCH": "exactMatchSpec", "BLEU": "bleuSpec", "ROUGE": "rougeSpec"}
CONTENT = message({"role": text, "parts": each(message({"text": text}))})
DATA = message({"text": text, "contents": message({"contents": each(CONTENT)})})
INSTANCE = message({
    "prompt": anything, "response": DATA, "reference": DATA, "rubricGroups": anything,
    "otherData": anything, "agentData": anything, "agentEvalData": anything,
})  # fmt: skip
WITH_METRICS = message(
    {
        "metrics": each(METRIC), "metricSources": each(message({"metric": METRIC})),
        "instance": INSTANCE, "autoraterConfig": anything, "allowCrossRegionModel": flag,
        "location": text,
    },
    required=("instance",),
)  # fmt: skip
KNOWN = (
    "exactMatchInput, bleuInput, rougeInput, and metrics with exactMatchSpec, bleuSpec, rougeSpec"
)


@router.post(":evaluateInstances")
@router.post("/:evaluateInstances")
async def evaluate_instances(
    request: Request, _: Annotated[Caller, Depends(caller_of)]
) -> Mapping[str, Json]:
    """One score for each instance, or one for each metric."""
    body = await read_body(request, anything)
    try:
        return await run_sync(_evaluated, body)
    except MissingExtra as error:
        raise Refusal("unavailable", error.message, hint=error.hint) from error


def _evaluated(body: Json) -> Mapping[str, Json]:
    if not isinstance(body, dict):
        raise Refusal("invalid", "the body has to be an object")
    asked = [key for key in body if camel_case(key).endswith("Input")]
    if len(asked) > 1:
        raise Refusal("invalid", f"more than one input: {', '.join(map(repr, asked))}")
    if not asked:
        return {"metricResults": _each_metric(body)}
    (key,) = asked
    name = camel_case(key)
    if name not in INPUTS:
        raise _unsupported(key)
    form = message({name: INPUTS[name], "location": text}, required=(name,))
    found = form(body, "")[name]
    metric = name.removesuffix("Input")
    pairs = [(one["prediction"], one["reference"]) for one in found["instances"]]
    scores = _scorer(metric, found.get("metricSpec", {}))(pairs)
    return {f"{metric}Results": {f"{metric}MetricValues": [{"score": one} for one in scores]}}


def _each_metric(body: Mapping[str, Json]) -> list[Json]:
    refuse_judged(body.get("metrics"))
    asked = WITH_METRICS(body, "")
    metrics = [*asked.get("metrics", []), *(s["metric"] for s in asked.get("metricSources", []))]
    if not metrics:
        raise Refusal("invalid", "there is no metric", hint=f"known: {KNOWN}", param="metrics")
    pair = (_text_of(asked["instance"], "response"), _text_of(asked["instance"], "reference"))
    return [{"score": scorer_of(one)([pair])[0]} for one in metrics]


def refuse_judged(given: Json) -> None:
    """Raise Refusal for metrics, as they came, whose scores a model gives; by their spec's name."""
    for one in given if isinstance(given, list) else [given]:
        for key in one if isinstance(one, dict) else ():
            if camel_case(key).endswith("Spec") and camel_case(key) not in METRICS:
                raise _unsupported(key)


def scorer_of(metric: Mapping[str, Json]) -> Scorer:
    """What computes a metric, as read by the form `METRIC`; raises Refusal and MissingExtra."""
    key, spec = _spec(metric)
    return _scorer(key.removesuffix("Spec"), spec)


def kind_of_metric(metric: Mapping[str, Json]) -> str:
    """Its kind, "exactMatch", "bleu" or "rouge"; raises Refusal."""
    return _spec(metric)[0].removesuffix("Spec")


def _spec(metric: Mapping[str, Json]) -> tuple[str, Mapping[str, Json]]:
    specs = {key: value for key, value in metric.items() if key in METRICS}
    if len(specs) != 1:
        raise Refusal("invalid", "a metric has one spec", hint=f"known: {KNOWN}", param="metrics")
    ((key, spec),) = specs.items()
    if key == "computationBasedMetricSpec":
        return _computed(spec)
    return key, spec


def _computed(spec: Mapping[str, Json]) -> tuple[str, Mapping[str, Json]]:
    place = "metrics.computationBasedMetricSpec"
    key = TYPES.get(spec["type"])
    if key is None:
        raise Refusal(
            "invalid",
            f"no metric of the type {spec['type']!r} is computed here",
            hint=f"known: {', '.join(TYPES)}",
            param=f"{place}.type",
        )
    return key, SPECS[key.removesuffix("Spec")](spec.get("parameters", {}), f"{place}.parameters")


def _scorer(metric: str, spec: Mapping[str, Json]) -> Scorer:
    if metric == "bleu":
        return bleu(effective_order=spec.get("useEffectiveOrder", False))
    if metric == "rouge":
        return rouge(
            spec.get("rougeType", ""),
            stem=spec.get("useStemmer", False),
            split=spec.get("splitSummaries", False),
        )
    return exact_match


def _text_of(instance: Mapping[str, Json], name: str) -> str:
    if name not in instance:
        raise Refusal("invalid", f"the instance has no {name}", param=f"instance.{name}")
    data = instance[name]
    if "text" in data:
        return str(data["text"])
    contents = data.get("contents", {}).get("contents", [])
    parts = [part for content in contents for part in content.get("parts", [])]
    return "".join(part.get("text", "") for part in parts)


def _unsupported(key: str) -> Refusal:
    return Refusal(
        "unsupported",
        f"{key!r} is not implemented: its scores come from a model that judges",
        hint=f"implemented: {KNOWN}",
        param=key,
    )
