// Plugins > StormSeg > Next Nucleus to Review
// Made by stormseg_ij/headers.py from the options of the command: python -m stormseg_ij.headers FOLDER
(System.properties["stormseg.menu"] ?: new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(ij.IJ.getDirectory("imagej"), "stormseg/Menu.groovy")))
    .choose("Next Nucleus to Review", this, false, '''
    #@ Boolean (label="Zoom", description="zoom to the nucleus (default: on)", value=true, persistKey="stormseg.next-nucleus-to-review.zoom") zoom
    #@ Boolean (label="Start over", description="forget which nuclei were reviewed and begin with the least certain one (default: off)", value=false, persistKey="stormseg.next-nucleus-to-review.start_over") start_over
''')
