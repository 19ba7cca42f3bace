"""A job posted by the services' own clients trains the embedded model, which then answers so."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stepladder.serve.app import create_app
from stepladder.serve.running import answering
from stepladder.serve.server import open_server
from stepladder.serve.settings import ServeSettings

pytestmark = [pytest.mark.slow, pytest.mark.network]

BASE = "local:smollm2-135m-instruct"
CODES = {
    "card is blocked": "QX-11", "cannot log in": "BV-72", "refund please": "ZK-05",
    "wrong address": "PL-38", "app crashes": "TR-94", "late delivery": "MG-61",
}  # fmt: skip
WHO = ("Ann", "Bob", "Cleo", "Dora", "Eli", "Finn", "Gus", "Hal", "Ida", "Jo")
NEW = ("Kim", "Lou", "Max")
MINUTES = 15


def ticket(who: str, what: str) -> str:
    return f"{who} writes: {what}. Code?"


TRAIN = [(ticket(who, what), code) for who in WHO for what, code in CODES.items()]
TEST = [(ticket(who, what), code) for who in NEW for what, code in CODES.items()]


@dataclass(frozen=True)
class Here:
    url: str
    folder: Path


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Here]:
    """A server as `stepladder serve` runs it, with its worker, over the embedded model."""
    pytest.importorskip("openvino_genai")
    pytest.importorskip("peft")
    folder = tmp_path_factory.mktemp("tuning")
    settings = ServeSettings(
        base_models=(BASE,),
        aliases={
            "gemini-3.5-flash": "smollm2-135m-instruct",
            "gpt-5-mini": "smollm2-135m-instruct",
        },
        port=0,
        database=f"sqlite:///{folder / 'serve.db'}",
        gs_folder=folder / "gs",
    )
    with open_server(settings) as server, answering(create_app(server), server) as url:
        yield Here(url, folder)


def wait_for(job: Callable[[], Any], over: Callable[[Any], bool]) -> Any:
    end = time.monotonic() + 60 * MINUTES
    while not over(found := job()):
        assert time.monotonic() < end, found
        time.sleep(2)
    return found


def right(answer: Callable[[str], str]) -> float:
    return sum(answer(asked).strip() == code for asked, code in TEST) / len(TEST)


def test_openais_client_tunes_and_asks_the_tuned_model(here: Here) -> None:
    from openai import OpenAI

    client = OpenAI(api_key="sk-fake", base_url=f"{here.url}/v1", max_retries=0, timeout=120)

    def ask(model: str, text: str) -> str:
        said = client.chat.completions.create(
            model=model, messages=[{"role": "user", "content": text}], max_tokens=12, temperature=0
        )
        return said.choices[0].message.content or ""

    assert right(lambda text: ask("gpt-5-mini", text)) == 0
    rows = [
        {"messages": [{"role": "user", "content": a}, {"role": "assistant", "content": b}]}
        for a, b in TRAIN
    ]
    content = "\n".join(map(json.dumps, rows)).encode()
    file = client.files.create(file=("train.jsonl", io.BytesIO(content)), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(
        model="gpt-5-mini",
        training_file=file.id,
        suffix="codes",
        seed=1,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 8}}},
    )
    done = wait_for(
        lambda: client.fine_tuning.jobs.retrieve(job.id),
        lambda job: job.status in ("succeeded", "failed", "cancelled"),
    )
    assert done.status == "succeeded", done.error
    assert done.fine_tuned_model.startswith("ft:gpt-5-mini:")
    assert right(lambda text: ask(done.fine_tuned_model, text)) > 0.8
    assert right(lambda text: ask("gpt-5-mini", text)) == 0  # the base is as it was
    checkpoints = list(client.fine_tuning.jobs.checkpoints.list(job.id))
    assert len(checkpoints) == 8
    assert ask(checkpoints[-1].fine_tuned_model_checkpoint, TRAIN[0][0])
    events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
    losses = [event.data["train_loss"] for event in events if event.type == "metrics"]  # type: ignore[index]
    assert losses[0] < losses[-1]  # the newest first
    table = client.files.content(done.result_files[0]).text
    assert len(table.splitlines()) == 1 + len(losses)


@pytest.mark.filterwarnings("ignore:The SDK's tuning implementation is experimental")
def test_googles_client_tunes_and_asks_the_endpoint(here: Here) -> None:
    from google import genai
    from google.genai import types
    from google.oauth2.credentials import Credentials

    client = genai.Client(
        vertexai=True,
        project="p",
        location="us-central1",
        credentials=Credentials("fake-token"),  # type: ignore[no-untyped-call]
        http_options=types.HttpOptions(base_url=here.url),
    )

    def ask(model: str, text: str) -> str:
        config = types.GenerateContentConfig(max_output_tokens=12, temperature=0)
        said = client.models.generate_content(model=model, contents=text, config=config)
        return said.text or ""

    rows = [
        {
            "contents": [
                {"role": "user", "parts": [{"text": a}]},
                {"role": "model", "parts": [{"text": b}]},
            ]
        }
        for a, b in TRAIN
    ]
    (here.folder / "gs" / "b").mkdir(parents=True)
    (here.folder / "gs" / "b" / "train.jsonl").write_text("\n".join(map(json.dumps, rows)))
    job = client.tunings.tune(
        base_model="gemini-3.5-flash",
        training_dataset=types.TuningDataset(gcs_uri="gs://b/train.jsonl"),
        config=types.CreateTuningJobConfig(
            tuned_model_display_name="codes", epoch_count=10, adapter_size="ADAPTER_SIZE_EIGHT"
        ),
    )
    assert job.name is not None
    done = wait_for(lambda: client.tunings.get(name=job.name or ""), lambda job: job.has_ended)
    assert done.has_succeeded, done.error
    assert right(lambda text: ask(done.tuned_model.endpoint, text)) > 0.8
    assert done.tuning_data_stats.supervised_tuning_data_stats.tuning_dataset_example_count == 60
    assert len(done.tuned_model.checkpoints) == 10
