// Plugins > StormSeg > Segment Nuclei
// Made by stormseg_ij/headers.py from the options of the command: python -m stormseg_ij.headers FOLDER
(System.properties["stormseg.menu"] ?: new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(ij.IJ.getDirectory("imagej"), "stormseg/Menu.groovy")))
    .choose("Segment Nuclei", this, true, '''
    #@ String (label="Model", description="shipped model, model folder, or weights file (.h5) of Mask R-CNN (default: stardist-storm)", value="stardist-storm", persistKey="stormseg.segment-nuclei.model") model
    #@ String (label="Size", description="longer side in pixels after resizing; auto: by the model's scale (from 8 to 100000; default: auto)", value="auto", persistKey="stormseg.segment-nuclei.size") size
    #@ String (label="Blur", description="sigma of the Gaussian blur in pixels of the resized image; the model's own without it (from 0 to 100)", value="auto", persistKey="stormseg.segment-nuclei.blur") blur
    #@ Boolean (label="Equalize", description="equalize the histogram, normalized, as Enhance Contrast does (default: off)", value=false, persistKey="stormseg.segment-nuclei.equalize") equalize
    #@ String (label="Probability", description="least probability of a nucleus; the model's own without it (from 0.05 to 1)", value="auto", persistKey="stormseg.segment-nuclei.probability") probability
    #@ String (label="NMS", description="overlap (IoU) above which the less probable of two nuclei goes; the model's own without it (from 0 to 0.9)", value="auto", persistKey="stormseg.segment-nuclei.nms") nms
    #@ Double (label="Min area fraction", description="remove nuclei smaller than this fraction of the image's mean nucleus area (from 0 to 1; default: 0.25)", value=0.25, min=0, max=1, stepSize=0.05, persistKey="stormseg.segment-nuclei.min_area_fraction") min_area_fraction
    #@ String (label="Refine", description="move outlines to where the localizations end, also into dents; the model's own choice without it", value="auto", choices={"auto", "yes", "no"}, persistKey="stormseg.segment-nuclei.refine") refine
    #@ String (label="Overlap rules", description="where nuclei overlap: the rules of the paper or its authors' code, or the more probable one wins (default: paper)", value="paper", choices={"paper", "notebook", "score"}, persistKey="stormseg.segment-nuclei.overlap_rules") overlap_rules
    #@ String (label="ROIs", description="add to the ROI Manager, replace there only what StormSeg put there, or put into the Overlay (default: append)", value="append", choices={"append", "replace", "overlay"}, persistKey="stormseg.segment-nuclei.rois") rois
    #@ Boolean (label="Label image", description="show a label image too: 0 is background, each number one nucleus (default: off)", value=false, persistKey="stormseg.segment-nuclei.label_image") label_image
    #@ String (label="Planes", description="of a stack, the plane that is shown, or all slices and frames (default: shown)", value="shown", choices={"shown", "all"}, persistKey="stormseg.segment-nuclei.planes") planes
    #@ String (label="Route", description="the whole image in tiles, or resized and in one go; auto: in one go where it is small enough (default: auto)", value="auto", choices={"auto", "tile", "resize"}, persistKey="stormseg.segment-nuclei.route") route
    #@ Integer (label="Tile", description="side of a tile in pixels of the network's input (from 128 to 2048; default: 512)", value=512, min=128, max=2048, persistKey="stormseg.segment-nuclei.tile") tile
    #@ Integer (label="Overlap", description="overlap of tiles in pixels of the network's input; it grows by itself where nuclei are wider (from 0 to 1024; default: 128)", value=128, min=0, max=1024, persistKey="stormseg.segment-nuclei.overlap") overlap
    #@ Integer (label="Seed", description="the same seed gives the same nuclei where the paper's rules draw lots (of at least 0; default: 0)", value=0, min=0, persistKey="stormseg.segment-nuclei.seed") seed
    #@ String (label="Plane", description="plane of a stack, counted from 1 (of at least 1)", value="auto", persist=false) plane
''')
