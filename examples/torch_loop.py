"""A torch module trained through secure rounds: `python examples/torch_loop.py [FOLDER]`.

Real digits, 12 clients, a network with BatchNorm: its batch counter is an integer and stays with the server, everything
else is summed under masks. Started again with the same folder, the session goes on where it was.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import torch

from protocols import RoundPlan
from protocols.learning import Session, TorchTrainer, deal_dirichlet, digits
from protocols.learning.data import Examples

CLIENTS = 12
ROUNDS = 5


def tensors(examples: Examples) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.tensor(examples.features, dtype=torch.float32), torch.tensor(examples.labels)


def main(folder: Path) -> float:
    dealt = deal_dirichlet(digits(), CLIENTS, seed=0, alpha=10)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # such small batches are done before a second thread wakes up
    linear, relu, norm = torch.nn.Linear, torch.nn.ReLU, torch.nn.BatchNorm1d
    module = torch.nn.Sequential(linear(64, 32), norm(32), relu(), linear(32, 10))

    def trainer(examples: Examples) -> TorchTrainer:
        loader = list(zip(*(part.split(32) for part in tensors(examples)), strict=True))
        return TorchTrainer(
            module, torch.nn.functional.cross_entropy, loader, lambda p: torch.optim.SGD(p, lr=0.1), epochs=3, mu=0.01
        )

    trainers = {who: trainer(examples) for who, examples in dealt.clients.items()}
    plan = RoundPlan.recommend(CLIENTS, dropout=0.1, corrupt=0.1, clip=4.0, task="digits")

    # From here on it is the loop of any training.
    with Session(module.state_dict(), plan, trainers, folder) as session:
        while session.rounds < ROUNDS:
            updates = {who: trainer.fit(session.model) for who, trainer in trainers.items()}
            report = session.round(updates)
            print(f"round {session.rounds}: {len(report.survivors)} clients, kept {report.kept}")
        module.load_state_dict(session.model)

    module.eval()
    inputs, targets = tensors(dealt.public)
    accuracy = (module(inputs).argmax(dim=1) == targets).double().mean().item()
    print(f"accuracy {accuracy:.3f}")
    return accuracy


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(tempfile.mkdtemp()))
