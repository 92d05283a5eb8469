"""What can be looked at: grids, strips and films of images (`pictures`), curves and charts (`plots`).

Everything here takes pixels or numbers and returns a picture; nothing here samples, trains or measures.
"""
