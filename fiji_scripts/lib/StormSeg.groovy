import groovy.transform.CompileStatic

import ij.IJ
import ij.ImagePlus
import ij.Macro
import ij.WindowManager
import ij.macro.Interpreter

import java.awt.GraphicsEnvironment
import java.util.function.BooleanSupplier
import java.util.function.Function

/**
 * What each menu script calls. It is compiled with every call and knows no other class of this folder: those are
 * compiled once, with the door to Python, which is kept for as long as Fiji runs.
 */
@CompileStatic
class StormSeg {

    private static final String KEY = "stormseg.door"

    /**
     * Runs a command on the active image.
     *
     * @param variables of the script: the values of its parameters; a macro's own options go before them
     * @return true where it was done
     */
    static boolean run(String name, Map variables) {
        return call(name, Macro.getOptions(), variables, WindowManager.getCurrentImage(), fromMacro())
    }

    /**
     * Runs a command with these values on this image, whatever a macro says; for scripts that do so with many.
     *
     * As in a macro, what is worth knowing goes to the Log, and only what went wrong opens a window.
     */
    static boolean run(String name, Map values, ImagePlus imp) {
        return call(name, null, values, imp, true)
    }

    private static boolean call(String name, String options, Map values, ImagePlus imp, boolean fromMacro) {
        Map<String, Object> call = new LinkedHashMap<String, Object>()
        call.put("name", name)
        call.put("options", options)
        call.put("values", texts(values))
        call.put("image", imp)
        call.put("from_macro", fromMacro)
        call.put("batch", GraphicsEnvironment.isHeadless() || Interpreter.isBatchMode())
        call.put("headless", GraphicsEnvironment.isHeadless())
        call.put("imagej", IJ.getVersion())
        Function<Map, Boolean> door
        try {
            door = opened(new File(IJ.getDirectory("imagej"), "stormseg"))
        } catch (ClassNotFoundException | LinkageError | IllegalStateException missing) {
            fail(name, missing)
            return false
        }
        return door.apply(call)
    }

    /** Parameters as texts; what else stands among a script's variables belongs to Fiji. */
    private static Map<String, String> texts(Map<?, ?> values) {
        Map<String, String> found = new LinkedHashMap<String, String>()
        for (Map.Entry<?, ?> one : values.entrySet()) {
            Object value = one.value
            if (value instanceof File) {
                found.put(one.key.toString(), ((File) value).getPath())
            } else if (value instanceof CharSequence || value instanceof Number || value instanceof Boolean) {
                found.put(one.key.toString(), value.toString())
            }
        }
        return found
    }

    /** Tells whether a macro waits for this thread; Fiji runs scripts in threads of its own, which bear its name. */
    private static boolean fromMacro() {
        String thread = Thread.currentThread().getName()
        return thread.startsWith("Run\$_") || thread.startsWith("SciJava") && Interpreter.getInstance() != null
    }

    private static void fail(String name, Throwable missing) {
        String text = missing instanceof IllegalStateException
            ? missing.getMessage()
            : "Appose is missing in this Fiji, or not whole (" + missing.getMessage() +
                "); run stormseg install-fiji FOLDER"
        if (fromMacro()) {
            IJ.error(name, text)
        } else {
            IJ.showMessage(name, text)
        }
    }

    /** The door that is open, or a new one where the files of this folder are others than when it was made. */
    private static Function<Map, Boolean> opened(File folder) {
        Properties system = System.getProperties()
        synchronized (system) {
            String stamp = stamp(folder)
            Object[] kept = (Object[]) system.get(KEY)
            if (kept != null && (kept[0] == stamp || ((BooleanSupplier) kept[1]).getAsBoolean())) {
                return (Function<Map, Boolean>) kept[1]  // one that is at work says so, and is replaced another time
            }
            Object made = made(folder)
            if (kept != null) {
                ((Closeable) kept[1]).close()
            }
            system.put(KEY, [stamp, made] as Object[])
            return (Function<Map, Boolean>) made
        }
    }

    private static Object made(File folder) {
        ClassLoader parent = StormSeg.getClassLoader()
        Class<?> memory = Class.forName("org.apposed.appose.SharedMemory", false, parent)
        if (!(memory.getMethods().any { it.getName() == "rsize" })) {
            throw new IllegalStateException("Appose is too old in this Fiji; update Fiji, or get Appose 0.5.1 or newer")
        }
        GroovyClassLoader loader = new GroovyClassLoader(parent)
        loader.addClasspath(folder.getPath())
        return loader.loadClass("Door").getConstructor(File).newInstance(folder)
    }

    private static String stamp(File folder) {
        File[] files = folder.listFiles()
        if (files == null) {
            throw new IllegalStateException("Fiji has no folder " + folder + "; run stormseg install-fiji FOLDER")
        }
        List<String> parts = files.findAll { File file -> file.isFile() }.collect { File file ->
            file.getName() + " " + file.length() + " " + file.lastModified()
        }
        return folder.getPath() + "\n" + parts.sort().join("\n")
    }
}
