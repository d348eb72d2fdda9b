// Score a folder of results, or of images, against a folder of true nuclei.
//
// What it does: takes each label image NAME_labels.tif of the folder (what segment_measure_save.ijm, batch_folder.ijm
// and stormseg segment write); where there are none, takes its images and segments them with Segment Nuclei. Each is
// scored by Score Against Truth: F1, missed and false nuclei in percent, Hausdorff distance.
//
// Input:
//   results    folder with label images NAME_labels.tif; or with images NAME.tif, .tiff, .png
//   truth      folder with the true nuclei of equal names: NAME, NAME_labels or NAME_truth with .tif, .tiff or .png
//              (label images) or .zip (ROI files; also NAME_rois.zip)
//   output     table to write, a .csv file; without it scores.csv in the folder of results
//   iou        overlap (intersection over union) that a nucleus must exceed to count as found: iou=0.7
//   options    of Segment Nuclei in brackets, where images are segmented
//   overwrite  1 replaces the table if it exists, 0 stops at it
// Only results and truth must be given.
//
// Output: the table, a row per image, distances in pixels; it is shown as "Nuclei Scores" too. What has no truth or
// fails is left out, and told at the end.
//
// How to run, with StormSeg's commands in ImageJ (stormseg gui): Plugins > Macros > Run..., and choose this file; from
// another macro:
//   runMacro("/path/to/score_folder.ijm", "results=[/data/out] truth=[/data/truth]");
// or without a window: stormseg macro score_folder.ijm "results=[/data/out] truth=[/data/truth]"
// It goes through the folder itself; it is not for Process > Batch > Macro....

var keys = newArray(0); // of the argument
var values = newArray(0);

readArgument(getArgument(), newArray("results", "truth", "output", "iou", "options", "overwrite"));
results = setting("results", "");
if (results == "")
    results = getDirectory("Folder with results or images");
truth = setting("truth", "");
if (truth == "")
    truth = getDirectory("Folder with true nuclei");
if (!File.isDirectory(results))
    exit("results=" + results + " is no folder.");
if (!File.isDirectory(truth))
    exit("truth=" + truth + " is no folder.");
results = folder(results);
truth = folder(truth);
output = setting("output", results + "scores.csv");
if (!endsWith(output, ".csv"))
    exit("output=" + output + ": give a name that ends in .csv");
if (File.exists(output) && !ticked("overwrite"))
    exit(output + " exists; give overwrite=1 to replace it, or another output=[file].");
iou = number("iou", 0.7);
given = setting("options", "");
table = "Nuclei Scores";
if (getInfo("java.awt.headless") == "true")
    table = "Results"; // the only one there is without a display
else if (isOpen("ROI Manager")) {
    if (roiManager("count") > 0)
        exit("The ROI Manager holds ROIs, which could be taken for nuclei of these images: save them and close it.");
}
putAway(table);

wasBatch = is("Batch Mode");
setBatchMode(true);
files = getFileList(results);
end = "";
for (f = 0; f < files.length; f++) {
    if (endsWith(files[f], "_labels.tif"))
        end = "_labels";
}
scored = 0;
faults = "";
for (f = 0; f < files.length; f++) {
    file = files[f];
    stem = File.getNameWithoutExtension(file);
    if (isImage(file) && endsWith(stem, end)) {
        showProgress(f, files.length);
        stem = substring(stem, 0, lengthOf(stem) - lengthOf(end));
        fault = score(results + file, truthOf(stem));
        if (fault == "")
            scored++;
        else
            faults = faults + "\n" + file + ": " + fault;
    }
}
if (scored > 0) {
    if (table == "Results")
        saveAs("Results", output);
    else
        Table.save(output, table);
    print("" + scored + " images scored; table in " + output);
}
if (!wasBatch)
    setBatchMode(false);
if (scored == 0 && faults == "")
    exit("There is no image in " + results + ".");
if (faults != "")
    exit("Not scored:" + faults);

// Score one label image or image; return what is wrong, "" where nothing is.
function score(path, truthPath) {
    if (truthPath == "")
        return "no true nuclei of that name in " + truth;
    if (!opened(path))
        return "no image that ImageJ can open";
    image = getImageID();
    if (end != "")
        fault = attempt("Labels to ROIs", "rois=overlay");
    else
        fault = attempt("Segment Nuclei", given + " rois=overlay");
    if (fault == "") {
        selectImage(image);
        fault = attempt("Score Against Truth", "truth=[" + truthPath + "] iou=" + iou + " colour=false");
    }
    selectImage(image);
    close();
    return fault;
}

// Return the file with the true nuclei of an image, "" where there is none.
function truthOf(stem) {
    ends = newArray("_truth.zip", "_rois.zip", ".zip", "_truth.tif", "_truth.tiff", "_truth.png", "_labels.tif",
        "_labels.tiff", "_labels.png", ".tif", ".tiff", ".png");
    for (i = 0; i < ends.length; i++) {
        path = truth + stem + ends[i];
        if (File.exists(path))
            return path;
    }
    return "";
}

function isImage(file) {
    name = toLowerCase(file);
    if (endsWith(name, ".tif") || endsWith(name, ".tiff") || endsWith(name, ".png"))
        return true;
    return false;
}

// Give a table that is open another name, so that nobody's rows are lost or mixed with ours.
function putAway(title) {
    if (isOpen(title))
        Table.rename(title, title + " before");
}

// Run a command of StormSeg; return what it complains of, "" where it did its work.
function attempt(command, options) {
    options = replace(options, "\\\\", "\\\\\\\\");
    options = replace(options, "\"", "\\\\\"");
    fault = call("ij.Macro.eval", "run(\"" + command + "\", \"" + options + "\");");
    if (fault == "0" || fault == "null")
        return "";
    return fault;
}

// Open a file as an image; return whether it is one. ImageJ would stop at another file: look at its first letters.
function opened(path) {
    before = nImages;
    if (!File.exists(path))
        return false;
    size = File.length(path);
    if (size < 8)
        return false;
    first = File.openAsRawString(path, 4);
    if (!matches(first, "(?s)II.*|MM.*|.PNG|GIF8|BM.*|\u00ff\u00d8.*"))
        return false;
    call("ij.IJ.redirectErrorMessages"); // what else is wrong goes to the Log
    open(path);
    if (nImages > before)
        return true;
    return false;
}

// Split "key=value key=[two words]" into keys and values; stop at a key that is not known.
function readArgument(argument, known) {
    rest = String.trim(argument);
    while (rest != "") {
        equals = indexOf(rest, "=");
        if (equals < 1)
            exit("No setting in \"" + rest + "\"; write key=value, with values that have blanks in [brackets]");
        key = substring(rest, 0, equals);
        found = false;
        for (i = 0; i < known.length; i++)
            found = found || key == known[i];
        if (!found)
            exit("No setting \"" + key + "\"; choose from " + String.join(known, ", "));
        end = endOfValue(rest, equals + 1);
        value = substring(rest, equals + 1, end);
        if (startsWith(value, "["))
            value = substring(value, 1, lengthOf(value) - 1);
        keys = Array.concat(keys, key);
        values = Array.concat(values, value);
        rest = String.trim(substring(rest, end));
    }
}

// Where the value ends that begins at start: at a blank outside brackets.
function endOfValue(text, start) {
    depth = 0;
    for (i = start; i < lengthOf(text); i++) {
        letter = substring(text, i, i + 1);
        if (letter == "[")
            depth++;
        if (letter == "]")
            depth--;
        if (letter == " " && depth == 0)
            return i;
    }
    if (depth != 0)
        exit("A bracket is not closed in \"" + text + "\"");
    return lengthOf(text);
}

// Value of a key, or what it is where the key was left out.
function setting(key, missing) {
    for (i = 0; i < keys.length; i++) {
        if (keys[i] == key)
            return values[i];
    }
    return missing;
}

function number(key, missing) {
    text = setting(key, "" + missing);
    value = parseFloat(text);
    if (isNaN(value) || value < 0)
        exit("No number in \"" + key + "=" + text + "\"");
    return value;
}

// Is a key 1 or true?
function ticked(key) {
    value = setting(key, "0");
    if (value != "0" && value != "1" && value != "true" && value != "false")
        exit("\"" + key + "=" + value + "\" is neither 0 nor 1");
    if (value == "1" || value == "true")
        return true;
    return false;
}

// A folder's path with a separator at its end; the folder is made if it is not there. "" stays "".
function folder(path) {
    if (path == "")
        return "";
    if (!endsWith(path, "/") && !endsWith(path, File.separator))
        path = path + File.separator;
    if (!File.isDirectory(path))
        File.makeDirectory(path);
    if (!File.isDirectory(path))
        exit("Cannot make the folder " + path);
    return path;
}
