// Preprocess a STORM image: resize, blur, equalize.
//
// What it does, in this order (the preprocessing of the paper, Methods and Fig. 8):
//   1. Image > Adjust > Size: bilinear, averaging when the image gets smaller, aspect kept
//   2. Process > Filters > Gaussian Blur
//   3. Process > Enhance Contrast with "Normalize" and "Equalize histogram" ticked
// `stormseg preprocess` gives the same pixels.
//
// Input: the active image, 8-bit, 16-bit, 32-bit or RGB; of a stack the plane that is shown. A selection is ignored.
//   size      longer side after resizing, in pixels; 0 keeps the size
//   blur      sigma of the Gaussian blur, in pixels of the resized image; 0 does not blur
//   equalize  1 equalizes the histogram, 0 does not; a 32-bit image becomes 16-bit first, over its full range
//
// Output: a new image NAME_preprocessed, calibrated; the input stays as it is. RGB becomes 8-bit gray.
//
// How to run: drop this file on ImageJ's window and press Run (it asks for the three values), or from another macro:
//   runMacro("/path/to/preprocess.ijm", "size=512 blur=2 equalize=1");
// What is left out of the argument is 0.

if (nImages == 0)
    exit("There is no image: open one first.");
argument = getArgument();
if (argument == "") {
    Dialog.create("Preprocess STORM Image");
    Dialog.addNumber("Size of the longer side", 512, 0, 6, "pixels (0: as it is)");
    Dialog.addNumber("Blur, sigma", 2, 2, 6, "pixels (0: none)");
    Dialog.addCheckbox("Equalize the histogram", false);
    Dialog.show();
    size = Dialog.getNumber();
    blur = Dialog.getNumber();
    equalize = Dialog.getCheckbox();
} else {
    checkKeys(argument, newArray("size", "blur", "equalize"));
    size = number(argument, "size");
    blur = number(argument, "blur");
    equalize = number(argument, "equalize");
}
preprocess(size, blur, equalize);

function preprocess(size, blur, equalize) {
    duplicatePlane();
    if (bitDepth() == 24) {
        setRGBWeights(1 / 3, 1 / 3, 1 / 3);
        run("8-bit");
    }
    if (size > 0)
        resize(size);
    if (blur > 0)
        run("Gaussian Blur...", "sigma=" + blur);
    if (equalize) {
        if (bitDepth() == 32)
            to16bit();
        run("Enhance Contrast...", "saturated=0.35 normalize equalize");
    }
}

// Make a copy of the shown plane the active image, and leave the selection of the original as it was.
function duplicatePlane() {
    original = getImageID();
    title = File.getNameWithoutExtension(getTitle()) + "_preprocessed";
    hadSelection = selectionType() >= 0;
    if (hadSelection)
        run("Select None");
    getDimensions(width, height, channels, slices, frames);
    if (channels * slices * frames > 1) {
        Stack.getPosition(channel, slice, frame);
        ranges = " channels=" + channel + " slices=" + slice + " frames=" + frame;
        if (Stack.isHyperstack)
            run("Duplicate...", "title=[" + title + "]" + ranges);
        else
            run("Duplicate...", "title=[" + title + "]");
    } else
        run("Duplicate...", "title=[" + title + "]");
    copy = getImageID();
    if (hadSelection) {
        selectImage(original);
        run("Restore Selection");
        selectImage(copy);
    }
}

// Resize to a longer side of size pixels; the shorter side is rounded half up, and at least 1.
function resize(size) {
    longer = maxOf(getWidth(), getHeight());
    width = maxOf(1, floor(getWidth() * size / longer + 0.5));
    height = maxOf(1, floor(getHeight() * size / longer + 0.5));
    if (width != getWidth() || height != getHeight())
        run("Size...", "width=" + width + " height=" + height + " depth=1 average interpolation=Bilinear");
}

// Convert 32-bit to 16-bit over the full range of values, whatever is set in Edit > Options > Conversions.
function to16bit() {
    calibrates = calibratesConversions();
    saveSettings();
    setOption("ScaleConversions", true); // this unticks "Calibrate", which restoreSettings() does not know
    resetMinAndMax();
    run("16-bit");
    restoreSettings();
    if (calibrates)
        setOption("CalibrateConversions", true);
}

// Is "Calibrate" ticked in Edit > Options > Conversions? No macro function tells; what becomes 16-bit does.
function calibratesConversions() {
    image = getImageID();
    newImage("probe", "32-bit ramp", 2, 1, 1);
    run("16-bit");
    ticked = calibrate(65535) != 65535;
    close();
    selectImage(image);
    return ticked;
}

// Stop at a key that is not known: a misspelt one would be left out without a word.
function checkKeys(argument, keys) {
    words = split(argument, " ");
    for (i = 0; i < words.length; i++) {
        key = substring(words[i], 0, maxOf(0, indexOf(words[i], "=")));
        known = false;
        for (k = 0; k < keys.length; k++)
            known = known || key == keys[k];
        if (!known)
            exit("No setting \"" + words[i] + "\"; write for example size=512 blur=2 equalize=1");
    }
}

// Value of key in "key=value key=value", 0 where it is missing.
function number(argument, key) {
    words = split(argument, " ");
    for (i = 0; i < words.length; i++) {
        if (startsWith(words[i], key + "=")) {
            value = parseFloat(substring(words[i], lengthOf(key) + 1));
            if (isNaN(value) || value < 0)
                exit("No number in \"" + words[i] + "\"");
            return value;
        }
    }
    return 0;
}
