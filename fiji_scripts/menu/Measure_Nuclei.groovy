// Plugins > StormSeg > Measure Nuclei
// Made by stormseg_ij/headers.py from the options of the command: python -m stormseg_ij.headers FOLDER
(System.properties["stormseg.menu"] ?: new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(ij.IJ.getDirectory("imagej"), "stormseg/Menu.groovy")))
    .choose("Measure Nuclei", this, false, '''
    #@ String (label="Measure", description="all nuclei, or those selected in the ROI Manager (default: all)", value="all", choices={"all", "selected"}, persistKey="stormseg.measure-nuclei.nuclei") nuclei
''')
