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
// Output: for each size a stack NAME_512 of three labelled slices, calibrated. A 32-bit image becomes 16-bit in all
// three, over its own range, because equalization needs it. The input stays as it is.
//
// How to run: Plugins > Macros > Run..., and choose this file (it takes the values above); from another macro or under
// Process > Batch > Macro... with values of your own:
//   runMacro("/path/to/preprocess_variants.ijm", "sizes=512,256 blur=2");
// or without a window: stormseg macro preprocess_variants.ijm "image=[/data/a.tif] output=[/data/out]"

var keys = newArray(0); // of the argument
var values = newArray(0);

readArgument(getArgument(), newArray("image", "sizes", "blur", "output", "overwrite"));
sizes = split(setting("sizes", "512,256"), ",");
blur = number("blur", 2);
overwrite = number("overwrite", 0);
output = folder(setting("output", ""));
preprocess = File.getDirectory(getInfo("macro.filepath")) + "preprocess.ijm";
if (!File.exists(preprocess))
    exit("There is no preprocess.ijm beside this macro: put both into one folder, and run it by Plugins > Macros > Run.");
for (i = 0; i < sizes.length; i++) {
    sizes[i] = parseInt(sizes[i]);
    if (isNaN(sizes[i]) || sizes[i] < 8)
        exit("No size in sizes=" + setting("sizes", "") + "; write for example sizes=512,256");
}
wasBatch = is("Batch Mode");
setBatchMode(true);
if (setting("image", "") != "")
    open(setting("image", ""));
if (nImages == 0)
    exit("There is no image: open one first, or give image=[file].");
original = getImageID();
name = File.getNameWithoutExtension(getTitle());
for (i = 0; i < sizes.length; i++) {
    title = name + "_" + sizes[i];
    if (output != "" && File.exists(output + title + ".tif") && !overwrite)
        exit(output + title + ".tif exists; give overwrite=1 to replace it, or another output=[folder]");
}
for (i = 0; i < sizes.length; i++)
    makeVariants(sizes[i]);
if (!wasBatch)
    setBatchMode("exit and display");

// Make the stack of one size the active image, and save it where a folder is given.
function makeVariants(size) {
    resized = variant("size=" + size);
    blurred = variant("size=" + size + " blur=" + blur);
    equalized = variant("size=" + size + " equalize=1");
    if (bitDepth() != depthOf(resized)) { // equalization made 16-bit of 32-bit
        convert(resized);
        convert(blurred);
    }
    title = name + "_" + size;
    selectImage(resized);
    rename(title);
    setMetadata("Label", "resized to " + size);
    append(resized, blurred, "blurred, sigma " + blur + " pixels");
    append(resized, equalized, "equalized");
    setSlice(1);
    if (output != "")
        saveAs("Tiff", output + title + ".tif");
}

// Preprocess the original; return the new image's number.
function variant(steps) {
    selectImage(original);
    if (runMacro(preprocess, steps) == "[aborted]")
        exit("preprocess.ijm did not do " + steps);
    return getImageID();
}

function depthOf(image) {
    selectImage(image);
    return bitDepth();
}

// Convert 32-bit to 16-bit over the image's own range.
function convert(image) {
    selectImage(image);
    if (runMacro(preprocess, "to16bit=1") == "[aborted]")
        exit("preprocess.ijm did not make 16-bit");
}

// Put an image behind the last slice of a stack, and close it.
function append(stack, image, label) {
    selectImage(image);
    run("Select All");
    run("Copy");
    close();
    selectImage(stack);
    setSlice(nSlices);
    run("Add Slice");
    run("Paste");
    run("Select None");
    setMetadata("Label", label);
}
