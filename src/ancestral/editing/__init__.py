"""What one does with a model once it is trained: change images, continue them, restore them, go between them.

Everything here is a denoiser around a denoiser, a starting x, or a walk over the timesteps that yields `Step`s.
"""
