"""A node: two lines more than without secure sums."""

from __future__ import annotations

from flwr.app import ArrayRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp

from flower_app.task import HOMES, MODEL, dealt, trained
from protocols.adapters.flower import client_mod

app = ClientApp(mods=[client_mod(home=HOMES)])


@app.train()
def train(message: Message, context: Context) -> Message:
    examples = dealt().clients[context.node_config["partition-id"]]
    received = message.content["arrays"].to_numpy_ndarrays()
    parameters = trained(received, examples, message.content["config"]["lr"])
    metrics = {"num-examples": len(examples), "loss": MODEL.score(parameters, examples).loss}
    content = RecordDict({"arrays": ArrayRecord(parameters), "metrics": MetricRecord(metrics)})
    return Message(content, reply_to=message)


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    examples = dealt().clients[context.node_config["partition-id"]]
    score = MODEL.score(message.content["arrays"].to_numpy_ndarrays(), examples)
    metrics = {"num-examples": len(examples), "accuracy": score.accuracy}
    return Message(RecordDict({"metrics": MetricRecord(metrics)}), reply_to=message)
