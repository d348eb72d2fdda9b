import groovy.transform.CompileStatic

import ij.IJ
import ij.ImagePlus
import ij.Macro
import ij.WindowManager
import ij.macro.Interpreter

import java.awt.EventQueue
import java.awt.GraphicsEnvironment
import java.lang.reflect.Method
import java.util.function.BooleanSupplier
import java.util.function.Function

/**
 * What each menu script calls, and scripts of one's own. Those compile it, each for itself; so it knows no other class
 * of this folder. They are compiled once, with the door to Python, which is kept for as long as Fiji runs; beside it
 * lies a StormSeg for the menu.
 *
 * A call in the thread that paints windows, such as that of a button, returns at once: ImageJ would stand still. The
 * command then runs in a thread of its own, and nobody hears how it ended but the person.
 */
@CompileStatic
class StormSeg {

    private static final String KEY = "stormseg.door"
    private static final String LOCK = "stormseg.lock"

    /**
     * Runs a command on the active image.
     *
     * @param variables of the script: the values of its parameters; a macro's own options go before them
     * @return true where it was done; in the thread that paints windows, that it was started
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

    /** Tells whether the files are still those of which this class was made. */
    static boolean isCurrent() {
        Object[] kept = (Object[]) System.getProperties().get(KEY)
        File folder = folder()
        return kept != null && kept[2].is(StormSeg) && folder.isDirectory() && kept[0] == stamp(folder)
    }

    private static boolean call(String name, String options, Map values, ImagePlus imp, boolean fromMacro) {
        boolean waits = !EventQueue.isDispatchThread()  // a macro does not wait for what this one starts
        Map<String, Object> call = new LinkedHashMap<String, Object>()
        call.put("name", name)
        call.put("options", options)
        call.put("values", texts(values))
        call.put("image", imp)
        call.put("from_macro", fromMacro && waits)
        call.put("batch", GraphicsEnvironment.isHeadless() || Interpreter.isBatchMode())
        call.put("headless", GraphicsEnvironment.isHeadless())
        call.put("imagej", IJ.getVersion())
        if (waits) {
            return through(call)
        }
        new Thread({ through(call) } as Runnable, "StormSeg " + name).start()
        return true
    }

    private static boolean through(Map<String, Object> call) {
        Function<Map, Boolean> door = null
        Boolean done = null
        while (done == null) {  // null: the door was closed by another thread, which has made a new one
            try {
                door = opened(folder(), door)
            } catch (ClassNotFoundException | LinkageError | IllegalStateException missing) {
                fail(call, missing)
                return false
            }
            done = door.apply(call)
        }
        return done
    }

    private static File folder() {
        return new File(IJ.getDirectory("imagej"), "stormseg")
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

    /**
     * Tells whether a macro waits for this thread. In Fiji, scripts run in threads of their own; there getOptions()
     * finds what the macro gave to the thread that waits. Without options Fiji shows no difference, and the command
     * counts as a person's: a macro may run or wait elsewhere, and would be ended in place of this one.
     */
    private static boolean fromMacro() {
        return Macro.getOptions() != null || Thread.currentThread().getName().startsWith("Run\$_")
    }

    private static void fail(Map call, Throwable missing) {
        String name = call.get("name").toString()
        String text = missing instanceof IllegalStateException
            ? missing.getMessage()
            : "Appose is missing in this Fiji, or not whole (" + missing.getMessage() +
                "); run stormseg install-fiji FOLDER"
        if (call.get("from_macro")) {
            IJ.error(name, text)
        } else {
            IJ.showMessage(name, text)
        }
    }

    /**
     * The door that is open, or a new one where the files of this folder are others than when it was made.
     *
     * @param shut a door that was found closed; null where none was
     */
    private static Function<Map, Boolean> opened(File folder, Object shut) {
        Properties system = System.getProperties()
        system.putIfAbsent(LOCK, new Object())
        synchronized (system.get(LOCK)) {  // not the properties themselves: all threads of Java 8 wait for those
            String stamp = stamp(folder)
            Object[] kept = (Object[]) system.get(KEY)
            if (kept != null && !kept[1].is(shut) &&
                (kept[0] == stamp || ((BooleanSupplier) kept[1]).getAsBoolean())) {
                return (Function<Map, Boolean>) kept[1]  // one that is at work says so, and is replaced another time
            }
            GroovyClassLoader loader = loader(folder)
            Object made = loader.loadClass("Door").getConstructor(File).newInstance(folder)
            Class<?> library = loader.loadClass("StormSeg")
            if (kept != null) {
                ((Closeable) kept[1]).close()
            }
            system.put(KEY, [stamp, made, library] as Object[])
            return (Function<Map, Boolean>) made
        }
    }

    /** Compiles the classes of the folder. Above it is Fiji's own loader: those of scripts hold what each has compiled. */
    private static GroovyClassLoader loader(File folder) {
        ClassLoader parent = StormSeg.getClassLoader()
        while (parent instanceof GroovyClassLoader) {
            parent = parent.getParent()
        }
        boolean fits = false
        for (Method method : Class.forName("org.apposed.appose.SharedMemory", false, parent).getMethods()) {
            fits |= method.getName() == "rsize"
        }
        if (!fits) {
            throw new IllegalStateException("Appose is too old in this Fiji; update Fiji, or get Appose 0.5.1 or newer")
        }
        GroovyClassLoader loader = new GroovyClassLoader(parent)
        loader.addClasspath(folder.getPath())
        return loader
    }

    private static String stamp(File folder) {
        File[] files = folder.listFiles()
        if (files == null) {
            throw new IllegalStateException("Fiji has no folder " + folder + "; run stormseg install-fiji FOLDER")
        }
        Set<String> parts = new TreeSet<String>()
        for (File file : files) {
            if (file.isFile()) {
                parts.add(file.getName() + " " + file.length() + " " + file.lastModified())
            }
        }
        return folder.getPath() + "\n" + parts.join("\n")
    }
}
