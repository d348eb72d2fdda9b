// Segment and measure the images of an experiment: a folder for each condition, and a table for each.
//
// What it does, for each image: Segment Nuclei, and what Analyze > Set Measurements asks for, on the original pixels.
// It looks at each slice and frame of a stack by itself: a nucleus that is in several has a row for each. Of several
// channels it takes the one that the image opens with. A selection or an overlay in the file does not count.
//
// Input: a folder that holds a folder of images (.tif, .tiff, .png, .jpg, .gif, .bmp) for each condition; the model;
// the longer side in pixels after resizing, or "auto" for what the model is made for. Names that begin with a dot, and
// label images (NAME_labels.tif), are left out.
//
// Output, in a folder that lies elsewhere, for each condition a folder CONDITION with
//   CONDITION_measurements.csv   a row for each nucleus, in the image's units; Image, ROI, Ch, Slice, Frame say which
//   settings.txt                 the model and the size
//   NAME_rois.zip                the nuclei of the image NAME for the ROI Manager; none where it has no nucleus
//   NAME_labels.tif              its label image: 0 is background, each number one nucleus
// Run again, with the same settings, it goes on where it was stopped. An image is done that has its label image; its
// files and rows stay as they are. The ROI Manager and Results do so too.
//
// How to run: Plugins > StormSeg > Examples > Batch with a Table per Condition. What Fiji cannot open is left out, and
// named in the Log at the end; whatever else fails ends it, and so does Escape.

#@ File (label="Folder of the conditions", style="directory", persistKey="stormseg.examples.conditions") input
#@ File (label="Folder for the results", style="directory", persistKey="stormseg.examples.results") output
#@ String (label="Model", description="name of a shipped model, or a model folder", value="stardist-storm", persistKey="stormseg.examples.model") model
#@ String (label="Size", description="longer side in pixels after resizing; auto: by the model's scale", value="auto", persistKey="stormseg.examples.size") size

import groovy.transform.Field

import ij.IJ
import ij.WindowManager
import ij.io.FileSaver
import ij.io.RoiEncoder
import ij.measure.Measurements
import ij.measure.ResultsTable
import ij.plugin.filter.Analyzer

import java.nio.file.Files
import java.nio.file.StandardCopyOption
import java.util.zip.ZipEntry
import java.util.zip.ZipOutputStream

@Field stormseg
stormseg = new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(IJ.getDirectory("imagej"), "stormseg/StormSeg.groovy"))

try {
    def from = input.canonicalFile.toPath(), to = output.canonicalFile.toPath()
    check(!from.startsWith(to) && !to.startsWith(from), "one folder lies in the other; choose another for the results")
    def conditions = listed(input).findAll { it.directory }
    check(conditions, input.path + " holds no folder of a condition; give the folder that holds them")
    def images = conditions.collectMany { imagesOf(it) }
    check(images, "the folders in " + input.path + " hold no image")
    conditions.each { checkSettings(new File(output, it.name + "/settings.txt")) }

    int done = 0, left = 0
    def failed = []
    IJ.resetEscape()
    for (image in images) {
        check(!IJ.escapePressed(), "stopped by Escape")
        def imp = null
        if (result(image, "_labels.tif").exists()) {
            left++
        } else if (!(imp = opened(image))) {
            failed << image.parentFile.name + "/" + image.name
        } else if (segment(imp, image)) {
            done++
        } else {
            return  // StormSeg has said why
        }
    }
    IJ.log(done + " images segmented, " + left + " were done before; results in " + output.path +
        (failed ? "; " + failed.size() + " could not be opened: " + failed.join(", ") : ""))
} catch (IOException | IllegalArgumentException fault) {
    IJ.error("Batch with a Table per Condition", fault instanceof IOException ? fault.toString() : fault.message)
}
return

List listed(File folder) {
    def files = folder.listFiles()
    check(files != null, "cannot read the folder " + folder.path)
    return files.findAll { !it.name.startsWith(".") }.sort()  // macOS puts ._NAME beside NAME
}

List imagesOf(File condition) {
    def names = /(?i)(?!.*_labels\.tiff?$).+\.(tiff?|png|jpe?g|gif|bmp)/
    def images = listed(condition).findAll { it.name ==~ names }
    def twins = images.groupBy { stem(it).toLowerCase() }.values().find { it.size() > 1 }
    check(!twins, twins?.join(" and ") + " would have results of the same names; rename one of them")
    return images
}

/** Opens an image, without what a person drew into its file; null where Fiji cannot. */
def opened(File image) {
    def imp = quietly { IJ.openImage(image.path) }
    imp?.title = image.name  // some readers give others
    imp?.deleteRoi()
    imp?.overlay = null
    return imp
}

/** Segments an image, and saves what was found; the label image last, which says that all is there. */
boolean segment(imp, File image) {
    def zip = result(image, "_rois.zip"), tiff = result(image, "_labels.tif"), folder = tiff.parentFile
    check(!zip.exists() || part(tiff).exists(), zip.path + " is there without its label image; move it away")
    IJ.showStatus("Segmenting " + image.name)
    def open = (WindowManager.getIDList() ?: []) as Set
    def settings = [model: model, size: size, planes: "all", rois: "overlay", label_image: true]
    if (!stormseg.run("Segment Nuclei", settings, imp)) {
        return false
    }
    def labels = labelImage(imp, open)
    check(labels, "the label image of " + image.path + " was closed before it was saved; start again")
    try {
        def rois = imp.overlay ? imp.overlay.toArray() as List : []
        Files.createDirectories(folder.toPath())
        def note = new File(folder, "settings.txt")
        note.exists() ?: write(note) { it.setText(settingsText(), "UTF-8") }
        // From now on, and until all is there, this part says that the zip of the image is ours.
        check(quietly { new FileSaver(labels).saveAsTiff(part(tiff).path) }, "cannot write " + part(tiff).path)
        rois ? write(zip) { saveRois(rois, it) } : zip.delete()
        saveTable(new File(folder, folder.name + "_measurements.csv"), image.name, measured(imp, rois))
        move(tiff)
        IJ.log(image.path + ": " + rois.size() + " nuclei")
        return true
    } finally {
        labels.changes = false
        labels.close()
    }
}

/** The label image that was opened for an image; others may be a person's, who works on meanwhile. */
def labelImage(imp, Set before) {
    def titles = [imp.title, imp.title.replaceFirst(/\.[^.]*$/, "")].collect { it + "_labels" }
    def opened = (WindowManager.getIDList() ?: []).findAll { !(it in before) }.collect { WindowManager.getImage(it) }
    return opened.reverse().find { it && it.title in titles && it.width == imp.width && it.height == imp.height }
}

/** The heading of the table, and a row for each nucleus; nothing where there is none. */
List measured(imp, List rois) {
    check(!Analyzer.isRedirectImage(), "Analyze > Set Measurements redirects to another image; choose None there")
    def rows = new ResultsTable()
    def own = Measurements.LABELS | Measurements.STACK_POSITION  // the table has its own columns for these
    def analyzer = new Analyzer(imp, Analyzer.measurements & ~own, rows)
    analyzer.disableReset(true)  // or it would empty Results
    def places = rois.collect { roi ->
        int plane = roi.hasHyperStackPosition() ? imp.getStackIndex(imp.C, roi.ZPosition, roi.TPosition) : roi.position
        imp.setSlice(Math.max(plane, 1))
        imp.setRoi(roi.clone())
        analyzer.measure()
        return imp.convertIndexToPosition(imp.currentSlice) as List
    }
    def headings = rows.headings as List
    def lines = rois.withIndex().collect { roi, i ->
        [roi.name] + places[i] + headings.collect { rows.getStringValue(it, i) }
    }
    return rois ? [["ROI", "Ch", "Slice", "Frame"] + headings] + lines : []
}

/** Refuses to mix results of several settings. */
void checkSettings(File file) {
    def there = file.exists() ? file.getText("UTF-8") : settingsText()
    check(there == settingsText(), file.parent + " has results of " + there + "; choose these, or another folder")
}

String settingsText() {
    return "model " + model + ", size " + size
}

void saveRois(List rois, File file) {
    new ZipOutputStream(file.newOutputStream()).withCloseable { zip ->
        rois.each { roi ->
            zip.putNextEntry(new ZipEntry(roi.name + ".roi"))
            zip.write(RoiEncoder.saveAsByteArray(roi))
        }
    }
}

/** Adds the nuclei of an image to a table; rows of it are from a run that was stopped, and the last may be torn. */
void saveTable(File table, String image, List measured) {
    def name = quoted(image) + ","
    def lines = measured.collect { row -> row.collect { quoted(it.toString()) }.join(",") }
    def head = lines.take(1).collect { "Image," + it }
    def there = table.exists() ? table.readLines("UTF-8") : head
    def fits = !head || there.take(1) == head
    check(fits, table.path + " has other columns; set the measurements as before, or choose another folder")
    def before = there.findAll { !it.startsWith(name) && !name.startsWith(it) }
    if (before) {
        write(table) { it.setText((before + lines.drop(1).collect { name + it }).join("\n") + "\n", "UTF-8") }
    }
}

/** Writes a file under another name first: what has the right name is whole. */
void write(File file, Closure how) {
    how(part(file))
    move(file)
}

void move(File file) {
    Files.move(part(file).toPath(), file.toPath(), StandardCopyOption.REPLACE_EXISTING)
}

File part(File file) {
    return new File(file.parentFile, "part of " + file.name)
}

/** The file of an image in the folder of its condition. */
File result(File image, String ending) {
    return new File(new File(output, image.parentFile.name), stem(image) + ending)
}

String stem(File file) {
    return file.name.replaceFirst(/\.[^.]*$/, "")
}

String quoted(String text) {
    return text =~ /[",\n]/ ? '"' + text.replace('"', '""') + '"' : text
}

/** Does something whose faults go to the Log: a window would hold up the images after this one. */
def quietly(Closure work) {
    IJ.redirectErrorMessages(true)
    try {
        return work()
    } catch (RuntimeException | OutOfMemoryError fault) {
        IJ.log(fault.toString())
        return null
    } finally {
        IJ.redirectErrorMessages(false)
    }
}

void check(right, String message) {
    if (!right) {
        throw new IllegalArgumentException(message)
    }
}
