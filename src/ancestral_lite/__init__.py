"""A trained model's images without torch: NumPy, a plan (docs/plans.md) and whatever calls the network.

Nothing here imports torch or the package `ancestral`, and what is in JSON elsewhere stays plain data here: a plan is
the dictionary that its file holds.
"""

from ancestral_lite.model import Asked as Asked
from ancestral_lite.model import Model as Model
from ancestral_lite.normals import ImageNoise as ImageNoise
from ancestral_lite.normals import torch_normals as torch_normals
from ancestral_lite.plans import Array as Array
from ancestral_lite.plans import Labels as Labels
from ancestral_lite.plans import Network as Network
from ancestral_lite.plans import Plan as Plan
from ancestral_lite.plans import Step as Step
from ancestral_lite.plans import inpaint as inpaint
from ancestral_lite.plans import read_plan as read_plan
from ancestral_lite.plans import sample as sample
