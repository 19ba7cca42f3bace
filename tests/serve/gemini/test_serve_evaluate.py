"""`evaluateInstances`: the figures of the packages that everybody uses, in Vertex's forms."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping

import httpx2 as httpx
import pytest
from contract.specs import Exchange, Json
from hypothesis import given
from hypothesis import strategies as st
from resources import VERTEX, call, recorded, send
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu import sentence_bleu

from stepladder.serve import Refusal
from stepladder.serve.gemini.text_metrics import bleu, exact_match, rouge

pytestmark = pytest.mark.anyio

PATH = f"{VERTEX}:evaluateInstances"
BOTH = {"response": {"text": "a"}, "reference": {"text": "a"}}
SAID = "The cat sat on the mat, and the dog slept by the door."
WANTED = "A cat was on the mat; by the door the dogs sleep, and the cats on the mat."


def input_of(kind: str, spec: Mapping[str, Json], *pairs: tuple[str, str]) -> Json:
    instances = [{"prediction": said, "reference": wanted} for said, wanted in pairs]
    return {f"{kind}Input": {"instances": instances, "metricSpec": spec}}


def scores(answer: Json, kind: str) -> list[float]:
    return [one["score"] for one in answer[f"{kind}Results"][f"{kind}MetricValues"]]


REFUSED = ("evaluate_llm_metric", "evaluate_rubric_general_quality")


@pytest.mark.parametrize(
    ("case", "exchange"), recorded("evaluate_vertex"), ids=lambda one: str(one)[:40]
)
async def test_captured_requests_are_answered(
    case: str, exchange: Exchange, app_client: httpx.AsyncClient
) -> None:
    if case == "run_inference":
        pytest.skip("a call of a model, which others test")
    if case in REFUSED:
        error = (await call(app_client, "POST", exchange.path, exchange.body, 400))["error"]
        assert "not implemented" in error["message"]
        assert "rougeSpec" in error["message"]
        return
    answer = await call(app_client, "POST", exchange.path, exchange.body)
    ((results, values),) = answer.items()
    assert results.endswith("Results")
    ((_, (value,)),) = values.items()
    # one word has no sequence of four, which BLEU counts by default
    assert value["score"] == (0 if case == "evaluate_bleu" else 1)


async def test_one_score_for_each_instance(app_client: httpx.AsyncClient) -> None:
    body = input_of("exactMatch", {}, ("Paris", "Paris"), ("Paris", "paris"), ("", ""))
    assert scores(await call(app_client, "POST", PATH, body), "exactMatch") == [1.0, 0.0, 1.0]


@pytest.mark.parametrize("slash", ["/", ""])
async def test_a_slash_before_the_colon_does_not_matter(
    slash: str, app_client: httpx.AsyncClient
) -> None:
    body = input_of("exactMatch", {}, ("a", "a"))
    assert await call(app_client, "POST", f"{VERTEX}{slash}:evaluateInstances", body)


@pytest.mark.parametrize("effective", [True, False])
async def test_bleu_is_that_of_sacrebleu_as_a_fraction(
    effective: bool, app_client: httpx.AsyncClient
) -> None:
    spec = {"use_effective_order": effective}
    body = input_of("bleu", spec, (SAID, WANTED), ("short", "short"))
    found = scores(await call(app_client, "POST", PATH, body), "bleu")
    wanted = [
        sentence_bleu(said, [reference], use_effective_order=effective).score / 100
        for said, reference in ((SAID, WANTED), ("short", "short"))
    ]
    assert found == pytest.approx(wanted)
    assert found[0] != found[1]


async def test_rouge_is_the_f_measure_of_rouge_score(app_client: httpx.AsyncClient) -> None:
    for kind in (*(f"rouge{n}" for n in range(1, 10)), "rougeL", "rougeLsum"):
        for stem in (True, False):
            spec = {"rougeType": kind, "use_stemmer": stem}
            body = input_of("rouge", spec, (SAID, WANTED))
            (found,) = scores(await call(app_client, "POST", PATH, body), "rouge")
            wanted = RougeScorer([kind], use_stemmer=stem).score(WANTED, SAID)[kind].fmeasure
            assert found == pytest.approx(wanted)


async def test_rouge_is_that_of_sentences_where_no_variant_is_named(
    app_client: httpx.AsyncClient,
) -> None:
    body = input_of("rouge", {}, (SAID, WANTED))
    assert scores(await call(app_client, "POST", PATH, body), "rouge") == rouge("rougeLsum")(
        [(SAID, WANTED)]
    )


def test_stemming_and_variants_change_the_figure() -> None:
    def figure(kind: str, *, stem: bool = False) -> float:
        return rouge(kind, stem=stem)([(SAID, WANTED)])[0]

    assert len({figure("rouge1"), figure("rouge2"), figure("rougeL")}) == 3
    assert figure("rouge1", stem=True) > figure("rouge1")


def test_sentences_are_lines_where_they_are_to_be_split() -> None:
    pair = ("One came. Two went.", "Two went. One came.")
    lines = ("One came.\nTwo went.", "Two went.\nOne came.")
    assert rouge("rougeLsum", split=True)([pair]) == rouge("rougeLsum")([lines]) == [1.0]
    assert rouge("rougeLsum")([pair])[0] < 1


async def test_a_metric_and_an_instance_come_apart_in_the_newer_form(
    app_client: httpx.AsyncClient,
) -> None:
    content = {"contents": {"contents": [{"parts": [{"text": "Par"}, {"text": "is"}]}]}}
    instance = {"response": content, "reference": {"text": "Paris"}, "prompt": {"text": "?"}}
    metrics = [
        {"exactMatchSpec": {}},
        {"bleu_spec": {}},
        {"rougeSpec": {"rouge_type": "rouge1"}},
        {"computationBasedMetricSpec": {"type": "ROUGE", "parameters": {"rouge_type": "rougeL"}}},
    ]
    answer = await call(app_client, "POST", PATH, {"metrics": metrics, "instance": instance})
    assert [one["score"] for one in answer["metricResults"]] == pytest.approx(
        [1, 0.427, 1, 1], abs=0.5
    )
    assert answer["metricResults"][0]["score"] == 1


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ({}, "instance"),
        ({"instance": BOTH}, "no metric"),
        ({"metrics": [{"bleuSpec": {}}], "instance": {"response": {"text": "a"}}}, "reference"),
        ({"metrics": [{}], "instance": BOTH}, "spec"),
        ({"coherenceInput": {}}, "coherenceInput"),
        ({"metrics": [{"pointwise_metric_spec": {}}], "instance": {}}, "pointwise_metric_spec"),
        ({"bleuInput": {}, "rougeInput": {}}, "more than one"),
        ({"bleuInput": {"instances": [{"prediction": "a"}]}}, "reference"),
        ({"bleuInput": {"instances": [{"prediction": 1, "reference": "a"}]}}, "prediction"),
        (input_of("rouge", {"rougeType": "rouge0"}, ("a", "a")), "rouge0"),
        (input_of("rouge", {"rougeTipe": "rouge1"}, ("a", "a")), "rougeType"),
        ({"metrics": [{"computationBasedMetricSpec": {"type": "F1"}}], "instance": BOTH}, "BLEU"),
        ([], "object"),
    ],
)  # fmt: skip
async def test_what_cannot_be_scored_is_refused_by_name(
    body: Json, word: str, app_client: httpx.AsyncClient
) -> None:
    error = (await call(app_client, "POST", PATH, body, 400))["error"]
    assert word in json.dumps(error)


async def test_texts_too_long_to_compare_are_refused(app_client: httpx.AsyncClient) -> None:
    long = "word " * 5000
    body = input_of("rouge", {"rougeType": "rougeL"}, (long, long))
    assert "too long" in (await call(app_client, "POST", PATH, body, 400))["error"]["message"]
    found = await send(
        app_client, Exchange("POST", PATH, input_of("rouge", {"rougeType": "rouge1"}, (long, long)))
    )
    assert scores(found.json(), "rouge") == [1.0]


texts = st.text(max_size=40)


@given(texts, texts)
def test_scores_are_fractions_and_one_for_the_same_text(said: str, wanted: str) -> None:
    for score in (exact_match, bleu(effective_order=True), rouge("rouge1"), rouge("rougeL")):
        assert all(0 <= one <= 1 + 1e-9 for one in score([(said, wanted), (said, said)]))
    assert exact_match([(said, said)]) == [1.0]


async def test_a_package_that_is_missing_is_named(
    app_client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    error = (await call(app_client, "POST", PATH, input_of("bleu", {}, ("a", "a")), 503))["error"]
    assert "stepladder[text-metrics]" in error["message"]


def test_unknown_variants_are_refused() -> None:
    with pytest.raises(Refusal, match="rouge10"):
        rouge("rouge10")
