"""Exports a transformer strictly, with a class and on a rectangle; prints how far its outputs are from the network's.

Run by a test in a process of its own: the suite's checks of shapes cannot be exported.
"""

import torch

from ancestral.condition import Condition
from ancestral.networks.conditions import Told
from ancestral.networks.dit import DiT
from ancestral.settings import DiTSettings

if __name__ == "__main__":
    torch.manual_seed(0)
    network = DiT(DiTSettings(width=16, layers=2, heads=2), 2, 4, Told(3)).eval()
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    given = (torch.randn(3, 2, 4, 12), torch.tensor([0.0, 7.0, 999.0]), Condition(labels=torch.tensor([0, -1, 2])))
    exported = torch.export.export(network, given, strict=True).module()
    with torch.no_grad():
        print(float((exported(*given) - network(*given)).abs().max()))
