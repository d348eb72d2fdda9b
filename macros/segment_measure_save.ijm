// Segment the nuclei of a STORM image, measure them, and save everything.
//
// What it does: Segment Nuclei, Measure Nuclei (on the original pixels, as Analyze > Set Measurements asks), and saves.
//
// Input: the active image; a selection limits where nuclei are looked for.
//   image      file to open instead of the active image, such as image=[/data/my cells.tif]
//   output     folder for the results; without it the image's own folder
//   options    of Segment Nuclei in brackets, such as options=[model=stardist-storm size=512 blur=2 probability=0.5]:
//              size and blur in pixels, probability from 0 to 1; without them Segment Nuclei chooses
//   overwrite  1 replaces results that exist, 0 stops at them; it never replaces those that may be of another image
//              whose name differs only in its end, such as a.png beside a.tif
//   quiet      1 returns what is wrong to the macro that runs this one, instead of stopping with a message
// All may be left out.
//
// Output, in the folder, for an image NAME:
//   NAME_labels.tif        label image: 0 is background, each number one nucleus
//   NAME_rois.zip          the nuclei for the ROI Manager; or, where there is no display for a ROI Manager (or this
//                          macro is quiet in batch mode and none is open), NAME_rois.tif: the image with the nuclei
//                          in its Overlay
//   NAME_measurements.csv  a row per nucleus, calibrated
// An image without a nucleus gets a label image of zeros only. In a window the nuclei stay in the ROI Manager, behind
// what it held; in batch mode nothing stays open but the image, and this only if it was open before.
//
// How to run, with StormSeg's commands in ImageJ (stormseg gui): Plugins > Macros > Run..., and choose this file; from
// another macro or under Process > Batch > Macro... with values of your own:
//   runMacro("/path/to/segment_measure_save.ijm", "output=[/data/out] options=[size=512]");
// or without a window: stormseg macro segment_measure_save.ijm "image=[/data/a.tif] output=[/data/out]"

var keys = newArray(0); // of the argument
var values = newArray(0);
var ends = newArray("_labels.tif", "_rois.zip", "_rois.tif", "_measurements.csv"); // of the results' names
var overwrite = false;
var quiet = false;
var hasManager = true; // is there a ROI Manager, or only the Overlay?

readArgument(getArgument(), newArray("image", "output", "options", "overwrite", "quiet"));
overwrite = ticked("overwrite");
quiet = ticked("quiet");
if (getInfo("java.awt.headless") == "true")
    hasManager = false;
if (quiet && is("Batch Mode") && !isOpen("ROI Manager"))
    hasManager = false; // the one of batch mode does not outlive the quiet command
fault = segmentMeasureSave();
if (fault != "" && !quiet)
    exit(fault);
return fault;

// Do it all; return what is wrong, "" where nothing is.
function segmentMeasureSave() {
    path = setting("image", "");
    if (path != "") {
        if (!opened(path))
            return path + " is no image that ImageJ can open.";
    } else if (nImages == 0)
        return "There is no image: open one first, or give image=[file].";
    image = getImageID();
    name = File.getNameWithoutExtension(getTitle());
    beside = getDirectory("image");
    output = folder(setting("output", beside));
    fault = "";
    if (output == "")
        fault = "The image " + getTitle() + " is in no folder yet: save it first, or give output=[folder].";
    else
        fault = existing(output, name);
    if (fault == "")
        fault = work(image, output + name);
    if (path != "" && is("Batch Mode") && isOpen(image)) {
        selectImage(image);
        close();
    }
    return fault;
}

// Return what is wrong where results exist that may not be replaced.
function existing(output, name) {
    for (e = 0; e < ends.length; e++) {
        path = output + name + ends[e];
        if (File.exists(path)) {
            twin = sameName(name);
            if (twin != "")
                return path + " may be of " + twin + ": the results of " + getTitle()
                    + " would have the same names; rename one of the two images, or give another output=[folder].";
            if (!overwrite)
                return path + " exists; give overwrite=1 to replace it, or another output=[folder].";
        }
    }
    return "";
}

// Return another image in the folder of the active one whose results would have the same names, "" where there is none.
function sameName(name) {
    beside = getDirectory("image");
    if (beside == "")
        return "";
    own = getInfo("image.filename");
    files = getFileList(beside);
    for (f = 0; f < files.length; f++) {
        if (isImage(files[f]) && files[f] != own) {
            if (toLowerCase(File.getNameWithoutExtension(files[f])) == toLowerCase(name))
                return files[f];
        }
    }
    return "";
}

// Is it the name of an image file?
function isImage(file) {
    kinds = newArray(".tif", ".tiff", ".png", ".jpg", ".jpeg", ".gif", ".bmp");
    for (i = 0; i < kinds.length; i++) {
        if (endsWith(toLowerCase(file), kinds[i]))
            return true;
    }
    return false;
}

// Delete old results, which the new ones need not have all names of.
function deleteOld(stem) {
    for (i = 0; i < ends.length; i++) {
        path = stem + ends[i];
        if (File.exists(path))
            deleted = File.delete(path);
    }
}

// Segment, measure and save an image; stem is the folder and the name without its end.
function work(image, stem) {
    if (nResults > 0)
        IJ.renameResults("Results", "Results before"); // nobody's rows are lost or mixed with ours
    before = 0;
    place = "overlay";
    if (hasManager) {
        before = roiManager("count");
        place = "append";
    }
    options = setting("options", "");
    fault = attempt("Segment Nuclei", options + " rois=" + place + " label_image=true");
    if (fault != "")
        return fault;
    deleteOld(stem);
    saveAs("Tiff", stem + "_labels.tif");
    close();
    selectImage(image);
    count = saveNuclei(before, stem);
    if (count > 0) {
        measured = "all";
        if (hasManager) { // only ours: what else it holds could be taken for nuclei of this image
            ours = range(before, count);
            roiManager("select", ours);
            measured = "selected";
        }
        fault = attempt("Measure Nuclei", "nuclei=" + measured);
        if (fault != "")
            return fault;
        saveAs("Results", stem + "_measurements.csv");
        if (hasManager)
            roiManager("deselect");
    }
    if (is("Batch Mode")) {
        run("Clear Results");
        if (hasManager && count > 0) {
            ours = range(before, count);
            roiManager("select", ours);
            roiManager("delete");
        }
    }
    print("" + stem + ": " + count + " nuclei");
    return "";
}

// Save the nuclei that came behind what the ROI Manager held, or the image with its Overlay; return how many they are.
function saveNuclei(before, stem) {
    if (hasManager) {
        count = roiManager("count") - before;
        if (count > 0) {
            ours = range(before, count);
            roiManager("select", ours);
            roiManager("save selected", stem + "_rois.zip");
            roiManager("deselect");
        }
        return count;
    }
    count = Overlay.size;
    if (count > 0) {
        image = getImageID();
        run("Duplicate...", "title=nuclei");
        saveAs("Tiff", stem + "_rois.tif");
        close();
        selectImage(image);
    }
    return count;
}

// Return count numbers from first on.
function range(first, count) {
    numbers = Array.getSequence(count);
    for (i = 0; i < count; i++)
        numbers[i] += first;
    return numbers;
}

// Run a command of StormSeg; where this macro is to be quiet, return what it complains of, "" where it did its work.
function attempt(command, options) {
    if (!quiet) {
        run(command, options);
        return "";
    }
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
