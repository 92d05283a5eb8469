"""The typed tree of settings: one schema for Python, files, the command line and the report. A file a branch.

The text under each field is its help everywhere. This folder imports no torch, so each part of the package takes its
own branch of the tree as an argument. A setting that another one makes meaningless is an error, never ignored.
"""

from ancestral.settings.base import MOST_CLASS_EMBEDS as MOST_CLASS_EMBEDS
from ancestral.settings.base import MOST_IMAGES as MOST_IMAGES
from ancestral.settings.base import MOST_SEED as MOST_SEED
from ancestral.settings.base import MOST_TIMESTEPS as MOST_TIMESTEPS
from ancestral.settings.base import NumImages as NumImages
from ancestral.settings.base import NumTimesteps as NumTimesteps
from ancestral.settings.base import PositiveFloat as PositiveFloat
from ancestral.settings.base import PositiveInt as PositiveInt
from ancestral.settings.base import Seed as Seed
from ancestral.settings.base import Settings as Settings
from ancestral.settings.base import Side as Side
from ancestral.settings.base import Threads as Threads
from ancestral.settings.base import choices as choices
from ancestral.settings.base import field_names as field_names
from ancestral.settings.codec import AnyAutoencoder as AnyAutoencoder
from ancestral.settings.codec import AnyCodec as AnyCodec
from ancestral.settings.codec import AutoencoderSettings as AutoencoderSettings
from ancestral.settings.codec import FrozenSettings as FrozenSettings
from ancestral.settings.codec import KLSettings as KLSettings
from ancestral.settings.codec import PixelSettings as PixelSettings
from ancestral.settings.codec import PlainSettings as PlainSettings
from ancestral.settings.codec import VQSettings as VQSettings
from ancestral.settings.codec_run import AnyConfig as AnyConfig
from ancestral.settings.codec_run import CodecConfig as CodecConfig
from ancestral.settings.data import AttributeSpec as AttributeSpec
from ancestral.settings.data import DataSettings as DataSettings
from ancestral.settings.data import ImageSpec as ImageSpec
from ancestral.settings.diffusion import CosineSchedule as CosineSchedule
from ancestral.settings.diffusion import DiffusionSettings as DiffusionSettings
from ancestral.settings.diffusion import LinearSchedule as LinearSchedule
from ancestral.settings.diffusion import LogSnrSchedule as LogSnrSchedule
from ancestral.settings.diffusion import RectifiedSchedule as RectifiedSchedule
from ancestral.settings.diffusion import ReverseVariance as ReverseVariance
from ancestral.settings.diffusion import ScaledLinearSchedule as ScaledLinearSchedule
from ancestral.settings.diffusion import ScheduleSettings as ScheduleSettings
from ancestral.settings.network import AnyNetwork as AnyNetwork
from ancestral.settings.network import DiTSettings as DiTSettings
from ancestral.settings.network import LinearAttentionSettings as LinearAttentionSettings
from ancestral.settings.network import NetworkSettings as NetworkSettings
from ancestral.settings.network import UNetSettings as UNetSettings
from ancestral.settings.sampling import SamplingSettings as SamplingSettings
from ancestral.settings.text import POOL_HEADS as POOL_HEADS
from ancestral.settings.text import AnyText as AnyText
from ancestral.settings.text import EncoderSpec as EncoderSpec
from ancestral.settings.text import FrozenText as FrozenText
from ancestral.settings.text import LearnedText as LearnedText
from ancestral.settings.text import NoText as NoText
from ancestral.settings.text import TextSettings as TextSettings
from ancestral.settings.text import TextSpec as TextSpec
from ancestral.settings.training import TrainingSettings as TrainingSettings
from ancestral.settings.tree import ComputeSettings as ComputeSettings
from ancestral.settings.tree import Config as Config
from ancestral.settings.tree import flat as flat
from ancestral.settings.tree import leaves as leaves
from ancestral.settings.tree import merged as merged
from ancestral.settings.tree import parse as parse
from ancestral.settings.tree import read_settings as read_settings
from ancestral.settings.tree import sampling_with as sampling_with
