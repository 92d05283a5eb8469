"""How good the generated images are, and whether they are new: distances between sets of images, beside their floors.

Reading order: metrics (numbers of two matrices), features (images to vectors), neighbours (is it copied?), evaluate
(all of it, as one JSON-able model); inception is the published feature network, for who has its weights. Apart from
generated images: likelihood (held-out bits per dimension), which subsample and bound_sums make affordable.
"""
