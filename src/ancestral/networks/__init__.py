"""Networks: torch modules of (image, time, condition) that know nothing of diffusion.

Of the U-Net, sub-modules and parameters are named as in diffusers' `UNet2DModel`, so published weights load unchanged.
"""
