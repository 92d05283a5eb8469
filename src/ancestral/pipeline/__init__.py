"""A pipeline: what training leaves and what generating needs. Its parts, its folder, and the loop that makes images."""

from ancestral.pipeline.pipeline import Pipeline as Pipeline
