// Plugins > StormSeg > Smooth Nuclei
// Made by stormseg_ij/headers.py from the options of the command: python -m stormseg_ij.headers FOLDER
(System.properties["stormseg.menu"] ?: new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(ij.IJ.getDirectory("imagej"), "stormseg/Menu.groovy")))
    .choose("Smooth Nuclei", this, true, '''
    #@ Double (label="Sigma", description="how much, sigma of a Gaussian in pixels (above 0; default: 2)", value=2, max=100, stepSize=0.1, persistKey="stormseg.smooth-nuclei.sigma") sigma
''')
