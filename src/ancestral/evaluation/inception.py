"""Inception-v3 features, for distances that can be set beside published ones: the extra `fid` and a file of weights.

Numbers from here are comparable with papers only at the papers' number of images (50,000) and against the same
reference images. The weights are not shipped and never downloaded here.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float64
from torch import Tensor

from ancestral.errors import InputError
from ancestral.hub.published import read_pth
from ancestral.tensors import Pixels, over_white

# the file of torch-fidelity's release v0.2.0, converted from the TensorFlow network of 2015
WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"
CHUNK = 64


@dataclass(frozen=True)
class Inception:
    """The 2048 pooled features of Inception-v3, as torch-fidelity computes them."""

    network: Any
    kind: Literal["inception"] = "inception"
    num_classes: None = None
    accuracy: None = None
    num_held_out: None = None

    @torch.inference_mode()
    def features(self, pixels: Pixels) -> Float64[Tensor, "B D"]:
        """(B, 2048) features, float64; grey images are shown in three equal channels, transparency over white."""
        shown = over_white(pixels).expand(-1, 3, -1, -1)
        return torch.cat([self.network(part)[0] for part in torch.split(shown, CHUNK)]).double()


def load_inception(weights: Path) -> Inception:
    """Inception-v3 with the weights in the file `weights`, which is read as tensors and nothing else."""
    # torch-fidelity leaves it to torch's default how to unpickle; a file that would run code is refused before
    read_pth(weights, f"the Inception weights {WEIGHTS} (torch-fidelity's release v0.2.0)")
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as fault:
        remedy = "pip install 'ancestral[fid]'"
        raise InputError(f"expected torch-fidelity for Inception features, got: {fault}; {remedy}") from None
    return Inception(FeatureExtractorInceptionV3("inception-v3", ["2048"], feature_extractor_weights_path=str(weights)))
