// Make the paper's preprocessing variants of a STORM image, to see which one shows the nuclei best.
//
// What it does: resizes the image to a longer side of 512 and of 256 pixels, and of each size gives three variants
// (the paper's: Results, "Kaggle trained networks"; Methods, "Image pre-processing"; Fig. 2B and Fig. 8):
//   1. resized only
//   2. resized and blurred: Gaussian, sigma 2 pixels
//   3. resized and equalized: histogram equalization with normalization
// Each is what preprocess.ijm makes, which must stand in the same folder. It needs ImageJ only, no Python.
//
// Input: the active image, 8-bit, 16-bit, 32-bit or RGB; of a stack the plane that is shown.
//   image      file to open instead of the active image, such as image=[/data/my cells.tif]
//   sizes      longer sides after resizing, in pixels, with commas: sizes=512,256
//   blur       sigma of the Gaussian blur, in pixels of the resized image: blur=2
//   output     folder to save the stacks in; without it they are only shown
//   overwrite  1 replaces files that exist, 0 stops at them
// All may be left out.
//
// Output: for each size a stack NAME_512 of three labelled slices, calibrated. Of a 32-bit image the equalized slice
// holds the whole numbers from 0 to 65535 that equalization gives. The input stays as it is.
//
// How to run: Plugins > Macros > Run..., and choose this file (it takes the values above); from another macro or under
// Process > Batch > Macro... with values of your own:
//   runMacro("/path/to/preprocess_variants.ijm", "sizes=512,256 blur=2");
// or without a window: stormseg macro preprocess_variants.ijm "image=[/data/a.tif] output=[/data/out]"

var keys = newArray(0); // of the argument
var values = newArray(0);

readArgument(getArgument(), newArray("image", "sizes", "blur", "output", "overwrite"));
sizeList = setting("sizes", "512,256");
sizes = split(sizeList, ",");
blur = number("blur", 2);
overwrite = ticked("overwrite");
output = folder(setting("output", ""));
preprocess = File.getDirectory(getInfo("macro.filepath")) + "preprocess.ijm";
if (!File.exists(preprocess))
    exit("There is no preprocess.ijm beside this macro: put both into one folder.");
for (i = 0; i < sizes.length; i++) {
    size = parseInt(sizes[i]);
    if (isNaN(size) || size < 8)
        exit("No size in sizes=" + sizeList + "; write for example sizes=512,256");
}
wasBatch = is("Batch Mode");
setBatchMode(true);
path = setting("image", "");
if (path != "")
    open(path);
if (nImages == 0)
    exit("There is no image: open one first, or give image=[file].");
original = getImageID();
name = File.getNameWithoutExtension(getTitle());
for (i = 0; i < sizes.length; i++) {
    size = sizes[i];
    title = name + "_" + size;
    if (output != "" && File.exists(output + title + ".tif") && !overwrite)
        exit(output + title + ".tif exists; give overwrite=1 to replace it, or another output=[folder]");
}
for (i = 0; i < sizes.length; i++) {
    size = parseInt(sizes[i]);
    makeVariants(size);
}
if (!wasBatch)
    setBatchMode("exit and display");

// Make the stack of one size, and save it where a folder is given.
function makeVariants(size) {
    titles = newArray("resized", "blurred, sigma " + blur, "equalized");
    steps = newArray("", " blur=" + blur, " equalize=1");
    depth = 0;
    for (v = 0; v < steps.length; v++) {
        selectImage(original);
        step = steps[v];
        if (runMacro(preprocess, "size=" + size + step) == "[aborted]")
            exit("preprocess.ijm did not do size=" + size + step);
        if (v == 0)
            depth = bitDepth();
        else if (bitDepth() != depth)
            run("32-bit"); // equalization made 16-bit of it; the values stay
        title = titles[v];
        titles[v] = "" + title + ", size " + size;
        rename(titles[v]);
    }
    title = name + "_" + size;
    images = "image1=[" + titles[0] + "] image2=[" + titles[1] + "] image3=[" + titles[2] + "]";
    run("Concatenate...", "title=[" + title + "] " + images);
    for (v = 0; v < steps.length; v++) {
        setSlice(v + 1);
        setMetadata("Label", titles[v]);
    }
    setSlice(1);
    if (output != "")
        saveAs("Tiff", output + title + ".tif");
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
