"""Restored cold starts: a process that has imported a version's code and had no run yet, frozen once, thawed by others.

    facts     what has to be as it was for an image to be used
    checks    sizes and checksums of an image's files
    figures   how long either way takes, and whether an image is worth it; pure
    suiting   which variables a run may have that takes an image; pure
    shelf     the images of this node: beside the version's tree, root's alone
    thawing   a process out of an image
    making    an image out of a fresh process
    starts    what a shim knows of all this

An image is made in idle time, of a process that was told neither a payload nor a variable nor a key. So it lies there as
it is. It is good for this boot of this node, and for a day, and for runs whose variables its import did not look up
(`executor_shim.lookups`).
"""
