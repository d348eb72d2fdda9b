// Plugins > StormSeg > Show Corrections
// Made by stormseg_ij/headers.py from the options of the command: python -m stormseg_ij.headers FOLDER
(System.properties["stormseg.menu"] ?: new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(ij.IJ.getDirectory("imagej"), "stormseg/Menu.groovy")))
    .choose("Show Corrections", this, true, '''''')
