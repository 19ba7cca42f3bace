"""The other side of `train_speed.py`: TRL's SFTTrainer on the same rows, in its own environment.

Reads a JSON description of the run, trains, writes the tuned model and prints what it took. Started
by `train_speed.py`; stepladder is not imported here.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def main() -> None:
    run = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    import torch
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    torch.set_num_threads(run["threads"])
    rows = [
        {
            "prompt": [{"role": "user", "content": asked}],
            "completion": [{"role": "assistant", "content": answer}],
        }
        for asked, answer in run["rows"]
    ]
    lora = LoraConfig(
        r=run["rank"], lora_alpha=2 * run["rank"], target_modules="all-linear", lora_dropout=0.0
    )
    said: dict[str, Any] = {} if run["checkpointing"] else {"gradient_checkpointing": False}
    settings = SFTConfig(
        output_dir=run["folder"],
        use_cpu=True,
        bf16=True,
        num_train_epochs=run["epochs"],
        per_device_train_batch_size=run["rows_per_batch"],
        learning_rate=run["learning_rate"],
        lr_scheduler_type="cosine",
        warmup_steps=run["warm_up_steps"],
        weight_decay=0.0,
        max_length=1024,
        logging_strategy="no",
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=0,
        **said,
    )
    trainer = SFTTrainer(
        model=run["base"],
        args=settings,
        train_dataset=Dataset.from_list(rows),
        peft_config=lora if run["method"] == "lora" else None,
    )
    kind = str(next(trainer.model.parameters()).dtype)
    started = time.perf_counter()
    trainer.train()
    seconds = time.perf_counter() - started
    model = trainer.model.merge_and_unload() if run["method"] == "lora" else trainer.model
    model.half().save_pretrained(run["folder"])
    steps = trainer.state.global_step
    print(json.dumps({"seconds": seconds, "steps": steps, "weights_in": kind}))


if __name__ == "__main__":
    main()
