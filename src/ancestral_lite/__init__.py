"""A trained model's images without torch: NumPy, a plan (docs/plans.md) and whatever calls the network.

Nothing here imports torch or the package `ancestral`, and what is in JSON elsewhere stays plain data here: a plan is
the dictionary that its file holds.
"""

from ancestral_lite.model import Model as Model
from ancestral_lite.model import Request as Request
from ancestral_lite.normals import SeededNoise as SeededNoise
from ancestral_lite.normals import torch_normals as torch_normals
from ancestral_lite.plans import Array as Array
from ancestral_lite.plans import LabelArray as LabelArray
from ancestral_lite.plans import NetworkCall as NetworkCall
from ancestral_lite.plans import PlanTable as PlanTable
from ancestral_lite.plans import StepTaken as StepTaken
from ancestral_lite.plans import inpaint as inpaint
from ancestral_lite.plans import read_plan as read_plan
from ancestral_lite.plans import sample as sample
