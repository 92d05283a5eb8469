"""What one does with a model once it is trained: change images, continue them, restore them, go between them.

Everything here is a denoiser around a denoiser, a starting x, or a walk over the timesteps that yields `Step`s:

- inpaint.py: replace part of an image, or continue it past its edges
- from_image.py: start from an image instead of from noise; variations of one
- inversion.py: the noise that an image comes from
- interpolate.py: paths between two noises
- operators.py, posterior.py: images of which only a linear measurement is known: enlarge, deblur, colour
- canvas.py: larger than the images of training
- tile.py: textures whose edges meet
"""
