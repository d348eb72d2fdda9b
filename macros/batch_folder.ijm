// Segment and measure every STORM image of a folder, and save everything.
//
// What it does, for each image file: segment_measure_save.ijm, which must stand in the same folder as this macro:
// Segment Nuclei with its preprocessing, Measure Nuclei, and saves. It goes on after an image that fails, and tells at
// the end.
//
// Input:
//   input      folder with images: .tif, .tiff, .png, .jpg, .gif, .bmp; other files and folders in it are left out;
//              two images whose names differ only in their ends, such as a.png and a.tif, are refused
//   output     folder for the results; without it a folder "nuclei" in the input folder
//   options    of Segment Nuclei in brackets, such as options=[model=stardist-storm size=512 blur=2 equalize=true]:
//              size and blur in pixels; without them Segment Nuclei chooses for each image
//   overwrite  1 replaces results that exist, 0 leaves images out that have results
// Only input must be given; without any of them a dialog asks for it.
//
// Output, in the folder, for each image NAME: NAME_labels.tif, NAME_rois.zip (NAME_rois.tif without a display) and
// NAME_measurements.csv, as segment_measure_save.ijm tells; in the Log a line per image, and what failed.
//
// How to run, with StormSeg's commands in ImageJ (stormseg gui): Plugins > Macros > Run..., and choose this file; from
// another macro:
//   runMacro("/path/to/batch_folder.ijm", "input=[/data/day 1] options=[size=512]");
// or without a window: stormseg macro batch_folder.ijm "input=[/data/day 1] output=[/data/out]"
// It goes through the folder itself; it is not for Process > Batch > Macro....

var keys = newArray(0); // of the argument
var values = newArray(0);

readArgument(getArgument(), newArray("input", "output", "options", "overwrite"));
input = setting("input", "");
if (input == "")
    input = getDirectory("Folder with images");
if (!File.isDirectory(input))
    exit("input=" + input + " is no folder.");
input = folder(input);
output = folder(setting("output", input + "nuclei"));
if (File.getName(output) == File.getName(input) && File.getParent(output) == File.getParent(input))
    exit("The output folder is the input folder: results would be taken for images. Give another output=[folder].");
one = File.getDirectory(getInfo("macro.filepath")) + "segment_measure_save.ijm";
if (!File.exists(one))
    exit("There is no segment_measure_save.ijm beside this macro: put both into one folder.");
overwrite = ticked("overwrite");
given = setting("options", "");
files = getFileList(input);
checkNames(files);

wasBatch = is("Batch Mode");
openedManager = false;
if (!wasBatch && getInfo("java.awt.headless") != "true" && !isOpen("ROI Manager")) {
    run("ROI Manager..."); // before batch mode, which would hide one for each macro
    openedManager = true;
}
setBatchMode(true);
done = 0;
kept = 0;
failed = 0;
faults = "";
for (f = 0; f < files.length; f++) {
    file = files[f];
    if (isImage(file)) {
        showProgress(f, files.length);
        name = File.getNameWithoutExtension(file);
        if (!overwrite && File.exists(output + name + "_labels.tif"))
            kept++;
        else {
            settings = "image=[" + input + file + "] output=[" + output + "] options=[" + given + "]";
            fault = runMacro(one, settings + " overwrite=1 quiet=1");
            if (fault == "[aborted]")
                fault = "it failed; the Log may tell why";
            if (fault == "")
                done++;
            else {
                failed++;
                faults = faults + "\n" + file + ": " + fault;
                print(file + " failed: " + fault);
            }
        }
    }
}
if (!wasBatch)
    setBatchMode(false);
if (openedManager) {
    selectWindow("ROI Manager");
    run("Close");
}
summary = "" + done + " images segmented";
if (kept > 0)
    summary = summary + ", " + kept + " left out, which have results (overwrite=1 replaces them)";
print(summary + "; results in " + output);
if (done + kept + failed == 0)
    exit("There is no image in " + input + ".");
if (failed > 0)
    exit("" + failed + " of " + (done + kept + failed) + " images failed:" + faults);

// Stop where two images have the same name but for its end: their results would have the same names. So they would
// where only capital letters differ, as many disks make no difference there.
function checkNames(files) {
    if (files.length < 2)
        return;
    names = newArray(files.length);
    for (f = 0; f < files.length; f++)
        names[f] = toLowerCase(File.getNameWithoutExtension(files[f])) + "/" + files[f]; // no file has "/" in its name
    Array.sort(names); // equal ones stand side by side
    last = "";
    lastFile = "";
    for (f = 0; f < names.length; f++) {
        end = indexOf(names[f], "/");
        name = substring(names[f], 0, end);
        file = substring(names[f], end + 1);
        if (isImage(file)) {
            if (lastFile != "" && name == last)
                exit(lastFile + " and " + file + " would have results of the same names; rename one of them.");
            last = name;
            lastFile = file;
        }
    }
}

// Is it the name of an image file?
function isImage(file) {
    ends = newArray(".tif", ".tiff", ".png", ".jpg", ".jpeg", ".gif", ".bmp");
    for (i = 0; i < ends.length; i++) {
        if (endsWith(toLowerCase(file), ends[i]))
            return true;
    }
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
