// Segment and measure the nuclei of all open images.
//
// What it does, for each open image: Segment Nuclei and Measure Nuclei (on the original pixels, as
// Analyze > Set Measurements asks). A selection in an image limits where nuclei are looked for.
//
// Input: the open images, of a stack the plane that is shown; the model; the longer side in pixels after resizing, or
// "auto" for what the model is made for.
//
// Output: the nuclei in the ROI Manager, where they take the place of those that StormSeg found in the same image
// before; and a row for each in Results, behind the rows that are there. The column Image names the image.
// An image with nuclei that a person corrected (merged, split, redrawn ...) is left out, so that none of them is lost;
// the Log says so.
//
// How to run: Plugins > StormSeg > Examples > Segment and Measure Open Images. It stops at the first image that fails.

#@ String (label="Model", description="name of a shipped model, or a model folder", value="stardist-storm", persistKey="stormseg.examples.model") model
#@ String (label="Size", description="longer side in pixels after resizing; auto: by the model's scale", value="auto", persistKey="stormseg.examples.size") size

import ij.IJ
import ij.WindowManager
import ij.measure.ResultsTable
import ij.plugin.frame.RoiManager

def stormseg = new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(IJ.getDirectory("imagej"), "stormseg/StormSeg.groovy"))

def images = (WindowManager.getIDList() ?: []).collect { WindowManager.getImage(it) }
if (!images) {
    IJ.error("Segment and Measure Open Images", "No image is open; open some first")
    return
}

IJ.resetEscape()  // an Escape from before is not meant for this
for (imp in images) {
    if (isCorrected(imp)) {
        IJ.log(imp.title + ": left out, its nuclei were corrected; Measure Nuclei measures them")
        continue
    }
    IJ.showStatus("Segmenting " + imp.title)
    def before = inManager()
    if (!stormseg.run("Segment Nuclei", [model: model, size: size, rois: "replace"], imp)) {
        return  // StormSeg has said why
    }
    def found = inManager()
    found.removeAll(before)
    if (!found) {
        IJ.log(imp.title + ": no nuclei")
        continue
    }
    int rows = ResultsTable.getResultsTable().size()
    if (!stormseg.run("Measure Nuclei", [nuclei: "all"], imp)) {
        return
    }
    def results = ResultsTable.getResultsTable()
    for (int row = rows; row < results.size(); row++) {
        results.setValue("Image", row, imp.title)
    }
    results.show("Results")
    IJ.log(imp.title + ": " + found.size() + " nuclei")
}
return

/** What the ROI Manager lists, each ROI as itself: equal ones are different here. */
def inManager() {
    def all = Collections.newSetFromMap(new IdentityHashMap())
    all.addAll((RoiManager.getInstance2()?.getRoisAsArray() ?: []) as List)
    return all
}

/** Tells whether the ROI Manager has nuclei of an image of this name that a person corrected. */
boolean isCorrected(imp) {
    def files = [imp.title, imp.originalFileInfo?.fileName].findAll()
    def names = files + files*.replaceFirst(/\.[^.]*$/, "")  // StormSeg names images without the suffix of a file
    return inManager().any { it.getProperty("corrected") && it.getProperty("image") in names }
}
