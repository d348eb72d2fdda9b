// Segment every time point of a stack, and count the nuclei over time.
//
// What it does: Segment Nuclei on each frame; a selection limits where nuclei are looked for.
//
// Input: a stack with one slice for each time point: frames, or slices where it has no frames; the model; the longer
// side in pixels after resizing, or "auto" for what the model is made for.
//
// Output: the nuclei in the ROI Manager, behind those that it holds, each tied to its frame; and a table with a row for
// each time point: the number of nuclei, and their mean area in the image's unit (without nuclei NaN). With a known
// frame interval it has the time too.
//
// How to run: Plugins > StormSeg > Examples > Segment Every Time Point.

#@ ImagePlus (label="Stack") imp
#@ String (label="Model", description="name of a shipped model, or a model folder", value="stardist-storm", persistKey="stormseg.examples.model") model
#@ String (label="Size", description="longer side in pixels after resizing; auto: by the model's scale", value="auto", persistKey="stormseg.examples.size") size

import ij.IJ
import ij.measure.ResultsTable
import ij.plugin.frame.RoiManager

def stormseg = new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(IJ.getDirectory("imagej"), "stormseg/StormSeg.groovy"))

int times = imp.NFrames > 1 ? imp.NFrames : imp.NSlices
if (times == 1 || imp.NFrames > 1 && imp.NSlices > 1) {
    IJ.error("Segment Every Time Point", imp.title + " is no stack with one slice for each time point; choose another")
    return
}

IJ.resetEscape()  // an Escape from before is not meant for this
int before = RoiManager.getInstance2()?.count ?: 0
if (!stormseg.run("Segment Nuclei", [model: model, size: size, planes: "all", rois: "append"], imp)) {
    return  // StormSeg has said why
}
def found = ((RoiManager.getInstance2()?.getRoisAsArray() ?: []) as List).drop(before)

def table = new ResultsTable()
def scale = imp.calibration
for (time in 1..times) {
    def areas = found.findAll { timeOf(it, imp) == time }*.statistics*.pixelCount
    def mean = areas ? areas.sum() / areas.size() * scale.pixelWidth * scale.pixelHeight : Double.NaN
    table.addRow()
    table.addValue("Frame", time)
    if (scale.frameInterval > 0) {
        table.addValue("Time (" + scale.timeUnit + ")", (time - 1) * scale.frameInterval)
    }
    table.addValue("Nuclei", areas.size())
    table.addValue("Mean area (" + scale.unit + "^2)", mean)
}
table.show("Nuclei over time of " + imp.title)
return

/** The time point that a ROI is tied to. */
int timeOf(roi, imp) {
    def place = roi.hasHyperStackPosition()
        ? [roi.CPosition, roi.ZPosition, roi.TPosition] : imp.convertIndexToPosition(roi.position)
    return place[imp.NFrames > 1 ? 2 : 1]
}
