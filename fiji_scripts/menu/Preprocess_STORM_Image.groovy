// Plugins > StormSeg > Preprocess STORM Image
// Made by stormseg_ij/headers.py from the options of the command: python -m stormseg_ij.headers FOLDER
(System.properties["stormseg.menu"] ?: new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(ij.IJ.getDirectory("imagej"), "stormseg/Menu.groovy")))
    .choose("Preprocess STORM Image", this, true, '''
    #@ String (label="Size", description="longer side in pixels after resizing; unchanged without it (from 8 to 100000)", value="auto", persistKey="stormseg.preprocess-storm-image.size") size
    #@ Double (label="Blur", description="sigma of the Gaussian blur in pixels of the resized image (from 0 to 100; default: 0)", value=0, min=0, max=100, stepSize=0.1, persistKey="stormseg.preprocess-storm-image.blur") blur
    #@ Boolean (label="Equalize", description="equalize the histogram, normalized, as Enhance Contrast does (default: off)", value=false, persistKey="stormseg.preprocess-storm-image.equalize") equalize
''')
