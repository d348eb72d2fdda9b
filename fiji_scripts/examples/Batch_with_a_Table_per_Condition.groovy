// Segment and measure the images of an experiment: a folder for each condition, and a table for each.
//
// What it does, for each image: Segment Nuclei, and what Analyze > Set Measurements asks for, on the original pixels.
//
// Input: a folder that holds a folder of images (.tif, .tiff, .png, .jpg, .gif, .bmp) for each condition; the model;
// the longer side in pixels after resizing, or "auto" for what the model is made for.
//
// Output, in another folder, for each condition a folder CONDITION with
//   CONDITION_measurements.csv   a row for each nucleus, in the image's units; Image and ROI say which it is
//   NAME_rois.zip                the nuclei of the image NAME for the ROI Manager; none where it has no nucleus
//   NAME_labels.tif              its label image: 0 is background, each number one nucleus
// No file is ever replaced. Run again, it goes on where it was stopped: an image is done that has its label image.
// The ROI Manager and Results stay as they are.
//
// How to run: Plugins > StormSeg > Examples > Batch with a Table per Condition. It stops at the first image that fails.

#@ File (label="Folder of the conditions", style="directory", persistKey="stormseg.examples.conditions") input
#@ File (label="Folder for the results", style="directory", persistKey="stormseg.examples.results") output
#@ String (label="Model", description="name of a shipped model, or a model folder", value="stardist-storm", persistKey="stormseg.examples.model") model
#@ String (label="Size", description="longer side in pixels after resizing; auto: by the model's scale", value="auto", persistKey="stormseg.examples.size") size

import groovy.transform.Field

import ij.IJ
import ij.WindowManager
import ij.io.FileSaver
import ij.io.RoiEncoder

import java.nio.file.Files
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

@Field PART = "part of "
@Field stormseg
stormseg = new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(IJ.getDirectory("imagej"), "stormseg/StormSeg.groovy"))

try {
    int done = 0, left = 0
    def folders = (input.listFiles() ?: []).findAll { it.directory && it.canonicalFile != output.canonicalFile }
    def conditions = folders.sort()
    check(conditions, input.path + " holds no folder of a condition; give the folder that holds them")
    for (condition in conditions) {
        def images = condition.listFiles().findAll { it.name ==~ /(?i).+\.(tiff?|png|jpe?g|gif|bmp)/ }.sort()
        def twins = images.groupBy { stem(it).toLowerCase() }.values().find { it.size() > 1 }
        check(!twins, twins?.join(" and ") + " would have results of the same names; rename one of them")
        for (image in images) {
            if (new File(output, condition.name + "/" + stem(image) + "_labels.tif").exists()) {
                left++
            } else if (segment(image, new File(output, condition.name), [model: model, size: size])) {
                done++
            } else {
                return  // StormSeg has said why
            }
        }
    }
    check(done + left, "the folders in " + input.path + " hold no image")
    IJ.log(done + " images segmented, " + left + " were done before; results in " + output.path)
} catch (IOException | IllegalArgumentException fault) {
    IJ.error("Batch with a Table per Condition", fault.message)
}
return

/** Segments an image, and saves what was found; the label image last, which says that all is there. */
boolean segment(File image, File folder, Map settings) {
    IJ.showStatus("Segmenting " + image.name)
    def open = (WindowManager.getIDList() ?: []) as Set
    def imp = IJ.openImage(image.path)
    check(imp, image.path + " is no image that Fiji can open")
    imp.overlay = null
    imp.show()
    try {
        if (!stormseg.run("Segment Nuclei", settings + [rois: "overlay", label_image: true], imp)) {
            return false
        }
        def rois = imp.overlay ? imp.overlay.toArray() as List : []
        def labels = ours(open).find { it != imp }
        Files.createDirectories(folder.toPath())
        def zip = rois ? part(folder, stem(image) + "_rois.zip") { saveRois(rois, it) } : null
        def tiff = part(folder, stem(image) + "_labels.tif") { new FileSaver(labels).saveAsTiff(it.path) }
        if (rois) {
            addRows(image.name, imp, new File(folder, folder.name + "_measurements.csv"))
        }
        [zip, tiff].findAll().each { Files.move(it.toPath(), new File(folder, it.name - PART).toPath()) }
        IJ.log(image.path + ": " + rois.size() + " nuclei")
        return true
    } finally {
        ours(open).each {
            it.changes = false
            it.close()
        }
    }
}

/** The images that were opened since then. */
List ours(Set open) {
    return (WindowManager.getIDList() ?: []).findAll { !(it in open) }.collect { WindowManager.getImage(it) }
}

/** Writes a file under another name first: what has the right name is whole. */
File part(File folder, String name, Closure write) {
    def right = new File(folder, name)
    check(!right.exists(), right.path + " is there without its label image; move it away")
    def part = new File(folder, PART + name)
    write(part)
    check(part.exists(), "cannot write " + part.path)
    return part
}

def saveRois(List rois, File file) {
    new ZipOutputStream(file.newOutputStream()).withCloseable { zip ->
        rois.each { roi ->
            zip.putNextEntry(new ZipEntry(roi.name + ".roi"))
            zip.write(RoiEncoder.saveAsByteArray(roi))
        }
    }
}

/** Adds the nuclei of an image to the table of its condition, unless a run that was stopped has done so. */
def addRows(String image, imp, File table) {
    def rois = imp.overlay.toArray()
    def results = imp.overlay.measure(imp)
    def headings = results.headings.findAll { it != "Label" } as List
    def head = (["Image", "ROI"] + headings).collect { quoted(it) }.join(",")
    def lines = table.exists() ? table.readLines("UTF-8") : [head]
    check(lines[0] == head, table.path + " has other columns; set the measurements as before, or choose another folder")
    if (lines.any { it.startsWith(quoted(image) + ",") }) {
        return
    }
    def rows = (0..<results.size()).collect { row ->
        [image, rois[row].name, *headings.collect { results.getStringValue(it, row) }].collect { quoted(it) }.join(",")
    }
    table.append(((table.exists() ? [] : lines) + rows).join("\n") + "\n", "UTF-8")
}

def stem(File file) {
    return file.name.replaceFirst(/\.[^.]*$/, "")
}

def quoted(String text) {
    return text =~ /[",\n]/ ? '"' + text.replace('"', '""') + '"' : text
}

def check(right, String message) {
    if (!right) {
        throw new IllegalArgumentException(message)
    }
}
