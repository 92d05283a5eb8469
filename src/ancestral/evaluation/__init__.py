"""How good the generated images are, and whether they are new: distances between sets of images, beside their floors.

Reading order: metrics (numbers of two matrices, and is it copied?), features (images to vectors), evaluate (all of it,
as one JSON-able model); inception is the published feature network, for who has its weights. Apart from generated
images: likelihood (held-out bits per dimension), which bound_sums makes affordable.
"""
