"""What a report says of hosted models, and what it leaves unsaid."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hosted_climb import FLASH, PRO, TUNED, hosted_decision, hosted_trial, upgrade
from made_up_climb import fake_decision, fake_run, fake_task

from stepladder.report import decision_record, verdict_text
from stepladder.report.hosted import call_sentences, upgrade_sentences
from stepladder.report.html import render_report

CHEAP = hosted_trial("prompt", "plain", FLASH, 0.79, 0.35)
DEAR = hosted_trial("dearer_model", f"plain on {PRO}", PRO, 0.83, 0.97)


def said_of(gain: tuple[float, float, float], **more: Any) -> str:
    decision = fake_decision(upgrades=(upgrade(DEAR, CHEAP, gain, **more),))
    (sentence,) = upgrade_sentences(decision_record(decision, fake_task(), {}))
    return sentence


def test_a_dearer_model_is_worth_it_from_a_worth_of_a_right_answer_on() -> None:
    assert said_of((0.041, 0.01, 0.072), dollars_per_1000=0.62, dollars_per_success=0.0151) == (
        f"dearer_model / plain on {PRO}: +4.1 points (+1.0 to +7.2; n = 600) over prompt / plain "
        "on gemini-3.1-flash-lite for $0.62 more per 1,000 requests: worth it when a right answer "
        "is worth more than $0.015"
    )


@pytest.mark.parametrize(
    ("gain", "more", "said"),
    [
        ((0.01, -0.01, 0.03), {"dollars_per_1000": 0.62}, "not shown to be better"),
        ((0.0, 0.0, 0.0), {"dollars_per_1000": 0.0}, "at the same price: not shown to be better"),
        ((-0.05, -0.08, -0.02), {"dollars_per_1000": 0.62}, "shown to be worse"),
        ((0.05, 0.02, 0.08), {"dollars_per_1000": -0.1}, "$0.10 less per 1,000 requests: better"),
        ((0.05, 0.02, 0.08), {}, "for dollars that are unknown: better; whether that is worth it"),
        (
            (0.05, 0.02, 0.08),
            {"dollars_per_1000": 0.5, "dollars_per_success": 0.01, "pays": False},
            "by what the task says one is worth, it is not",
        ),
    ],
)
def test_each_outcome_has_its_words(
    gain: tuple[float, float, float], more: dict[str, Any], said: str
) -> None:
    sentence = said_of(gain, **more)
    assert said in sentence
    assert ("worth it when" in sentence) is ("dollars_per_success" in more)


def test_a_gain_that_the_test_does_not_show_is_not_called_better() -> None:
    decision = fake_decision(upgrades=(upgrade(DEAR, CHEAP, (0.069, 0.0001, 0.14)),))
    (one,) = decision.upgrades
    unsure = replace(one, gain=replace(one.gain, p_value=0.078))
    record = decision_record(replace(decision, upgrades=(unsure,)), fake_task(), {})
    assert upgrade_sentences(record)[0].endswith("not shown to be better")


def test_a_tuned_model_is_named_as_such_and_not_by_its_endpoint() -> None:
    tuned = hosted_trial("fine_tune", "supervised", TUNED, 0.84, 0.3)
    decision = fake_decision(upgrades=(upgrade(tuned, CHEAP, (0.05, 0.02, 0.08)),))
    (sentence,) = upgrade_sentences(decision_record(decision, fake_task(), {}))
    assert sentence.startswith("fine_tune / supervised on tuned gemini-2.5-flash: +5.0 points")
    assert "endpoints" not in sentence


def test_calls_say_what_the_cache_saved_what_was_thought_and_what_batch_jobs_answered() -> None:
    assert call_sentences(decision_record(hosted_decision(), fake_task(), {})) == [
        "few_shot / balanced-8: 83.3% of the input was read from a cache, which saved $0.45 per "
        "1,000 requests",
        f"dearer_model / balanced-8 on {PRO}: a cache was kept, which cost $0.020 more per 1,000 "
        "requests than it saved; 412 tokens of thinking per request, billed as output",
        "fine_tune / supervised: 50% of the answers: priced as batch jobs; answering at once costs "
        "more",
    ]


def test_an_unknown_saving_is_unknown_and_local_caches_save_no_dollars() -> None:
    seen = hosted_trial("prompt", "plain", FLASH, 0.8, None, cached_tokens=1_200.0)
    local = hosted_trial("prompt", "plain", "local:small", 0.8, 0.1, cached_tokens=1_200.0)
    record = decision_record(fake_decision(trials=(seen, local)), fake_task(), {})
    assert call_sentences(record) == [
        "prompt / plain: 50.0% of the input was read from a cache, the saving is unknown"
    ]


def test_how_often_a_model_is_asked_for_one_answer_is_said_where_it_is_more_than_once() -> None:
    often = hosted_trial("functions", "plain", "local:small", 0.8, 0.1, model_calls=2.25)
    once = hosted_trial("prompt", "plain", "local:small", 0.8, 0.1, model_calls=1.0)
    record = decision_record(fake_decision(trials=(often, once)), fake_task(), {})
    assert call_sentences(record) == ["functions / plain: 2.2 calls of the model per request"]


@pytest.mark.parametrize(
    ("read", "said"), [(2_394.0, "99.8%"), (2_399.9, "99.9%"), (2_400.0, "100.0%")]
)
def test_nearly_all_from_a_cache_is_not_called_all(read: float, said: str) -> None:
    seen = hosted_trial("prompt", "plain", FLASH, 0.8, None, cached_tokens=read)
    record = decision_record(fake_decision(trials=(seen,)), fake_task(), {})
    assert call_sentences(record)[0].startswith(f"prompt / plain: {said} of the input")


def test_a_record_without_these_fields_is_still_read() -> None:
    record = decision_record(hosted_decision(), fake_task(), {})
    new = ("model", "cached_tokens", "thinking_tokens", "batch_share")
    old = {
        **{name: value for name, value in record.items() if name != "upgrades"},
        "trials": [{k: v for k, v in t.items() if k not in new} for t in record["trials"]],
    }
    assert (upgrade_sentences(old), call_sentences(old)) == ([], [])


def test_terminal_and_page_say_both() -> None:
    decision = replace(hosted_decision(), chosen=None)
    text = " ".join(verdict_text(decision, fake_task(), width=100).split())
    page = " ".join(render_report(decision, fake_task(), fake_run(rows=None)).split())
    for said in (
        "worth it when a right answer is worth more than $0.015",
        "not shown to be better",
        "83.3% of the input was read from a cache",
        "dollars are unknown: no token price",
    ):
        assert said in text
        assert said in page
    assert "Dearer against cheaper models:" in text
