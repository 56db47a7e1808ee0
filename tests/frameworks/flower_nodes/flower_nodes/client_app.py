"""Adds what is known to the received model; the victim says that it trains, and is not heard of again."""

from __future__ import annotations

import time
from pathlib import Path

from flwr.app import Array, ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_nodes.known import VICTIM, delta_of, weight_of
from protocols.adapters.flower import client_mod

app = ClientApp(mods=[client_mod()])


@app.train()
def train(message: Message, context: Context) -> Message:
    who = context.node_config["partition-id"]
    if who == VICTIM:
        Path(str(context.node_config["training"])).touch()
        time.sleep(600)
    trained = {name: Array(array.numpy() + delta_of(who)) for name, array in message.content["arrays"].items()}
    metrics = MetricRecord({"num-examples": weight_of(who)})
    return Message(RecordDict({"arrays": ArrayRecord(trained), "metrics": metrics}), reply_to=message)
