// Plugins > StormSeg > Split Nucleus
// Made by stormseg_ij/headers.py from the options of the command: python -m stormseg_ij.headers FOLDER
(System.properties["stormseg.menu"] ?: new GroovyClassLoader(getClass().classLoader)
    .parseClass(new File(ij.IJ.getDirectory("imagej"), "stormseg/Menu.groovy")))
    .choose("Split Nucleus", this, false, '''
    #@ String (label="Split", description="line: along the line drawn across it; bisector: by itself, by the paper's rule; neck: by itself, where it is narrowest; auto: the line if there is one, else the bisector (default: auto)", value="auto", choices={"auto", "line", "bisector", "neck"}, persistKey="stormseg.split-nucleus.by") by
''')
