"""Samplers: one step from t to any s < t. Every one declares its order, which a test measures, and its cost."""

from ancestral.sampling.samplers.ancestral import DDIM as DDIM
from ancestral.sampling.samplers.ancestral import Ancestral as Ancestral
from ancestral.sampling.samplers.base import Noise as Noise
from ancestral.sampling.samplers.base import Sampler as Sampler
from ancestral.sampling.samplers.multistep import DEIS as DEIS
from ancestral.sampling.samplers.multistep import IPNDM as IPNDM
from ancestral.sampling.samplers.multistep import DPMSolver2MSDE as DPMSolver2MSDE
from ancestral.sampling.samplers.multistep import DPMSolverMultistep as DPMSolverMultistep
from ancestral.sampling.samplers.multistep import UniPC as UniPC
from ancestral.sampling.samplers.singlestep import DPMSolver2S as DPMSolver2S
from ancestral.sampling.samplers.singlestep import DPMSolver3S as DPMSolver3S
from ancestral.sampling.samplers.singlestep import Euler as Euler
from ancestral.sampling.samplers.singlestep import Heun as Heun
