// Plugins > StormSeg > Score Against Truth
// Made by stormseg_ij/headers.py from the options of the command: python -m stormseg_ij.headers FOLDER
(System.properties["stormseg.menu"] ?: new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(ij.IJ.getDirectory("imagej"), "stormseg/Menu.groovy")))
    .choose("Score Against Truth", this, true, '''
    #@ File (label="Truth", description="label image or ROI zip with the true nuclei, or the title of an open label image", style="open", required=false, persist=false) truth
    #@ Double (label="IoU", description="intersection over union that a predicted and a true nucleus must exceed to match (from 0 to 0.99; default: 0.7)", value=0.7, min=0, max=0.99, stepSize=0.05, persistKey="stormseg.score-against-truth.iou") iou
    #@ Boolean (label="Colour in the image", description="outline missed nuclei (magenta) and false ones (orange) in the image (default: on)", value=true, persistKey="stormseg.score-against-truth.colour") colour
''')
