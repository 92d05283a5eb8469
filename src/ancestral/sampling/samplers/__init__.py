"""Samplers: one step from t to any s < t. Every one declares its order, which a test measures, and its cost.

Read `base` first, then `ddim` and `ancestral`; `exponential` has the mathematics of all that is faster.
"""

from ancestral.sampling.samplers.ancestral import Ancestral as Ancestral
from ancestral.sampling.samplers.base import Noise as Noise
from ancestral.sampling.samplers.base import Sampler as Sampler
from ancestral.sampling.samplers.ddim import DDIM as DDIM
from ancestral.sampling.samplers.dpm_solver import DPMSolver2M as DPMSolver2M
from ancestral.sampling.samplers.dpm_solver import DPMSolver2MSDE as DPMSolver2MSDE
from ancestral.sampling.samplers.dpm_solver import DPMSolver3M as DPMSolver3M
from ancestral.sampling.samplers.euler_heun import Euler as Euler
from ancestral.sampling.samplers.euler_heun import Heun as Heun
from ancestral.sampling.samplers.multistep import DEIS2 as DEIS2
from ancestral.sampling.samplers.multistep import DEIS3 as DEIS3
from ancestral.sampling.samplers.multistep import DEIS4 as DEIS4
from ancestral.sampling.samplers.multistep import IPNDM2 as IPNDM2
from ancestral.sampling.samplers.multistep import IPNDM3 as IPNDM3
from ancestral.sampling.samplers.multistep import IPNDM4 as IPNDM4
from ancestral.sampling.samplers.singlestep import DPMSolver2S as DPMSolver2S
from ancestral.sampling.samplers.singlestep import DPMSolver3S as DPMSolver3S
from ancestral.sampling.samplers.unipc import UniPC1 as UniPC1
from ancestral.sampling.samplers.unipc import UniPC2 as UniPC2
from ancestral.sampling.samplers.unipc import UniPC3 as UniPC3
