// Plugins > StormSeg > Labels to ROIs
// Made by stormseg_ij/headers.py from the options of the command: python -m stormseg_ij.headers FOLDER
(System.properties["stormseg.menu"] ?: new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(ij.IJ.getDirectory("imagej"), "stormseg/Menu.groovy")))
    .choose("Labels to ROIs", this, true, '''
    #@ String (label="ROIs", description="add to the ROI Manager, replace there only what StormSeg put there, or put into the Overlay (default: append)", value="append", choices={"append", "replace", "overlay"}, persistKey="stormseg.labels-to-rois.rois") rois
    #@ String (label="Image", description="title of the open image that the nuclei belong to; the label image itself without it", value="", persist=false) image
''')
