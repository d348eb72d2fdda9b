import ij.IJ
import ij.Macro
import ij.macro.Interpreter

import java.awt.GraphicsEnvironment

import org.scijava.Context
import org.scijava.script.ScriptInfo
import org.scijava.script.ScriptModule
import org.scijava.script.ScriptService
import org.scijava.script.process.ScriptCallback

/**
 * What the scripts of the menu share: a person is asked in Fiji's own dialog, a macro is not.
 *
 * The dialog belongs to a script of its own, which consists of fields only. Fields of the menu's script would be asked
 * for in a macro too, each one that the macro leaves out.
 *
 * It is compiled once: the scripts find it among Java's properties, as it puts itself there.
 */
class Menu {

    private static final String KEY = "stormseg.menu"
    private static final List<Long> STAMP = stamp()

    /**
     * Runs a command.
     *
     * @param script the menu's script, run by SciJava
     * @param asks false takes the defaults, unless Alt is held down
     * @param fields SciJava's lines, a field each, indented as one likes
     */
    static void choose(String name, Script script, boolean asks, String fields) {
        if (STAMP != stamp()) {
            compiled("Menu").choose(name, script, asks, fields)
            return
        }
        System.properties[KEY] = Menu
        Map<String, String> values = [:]
        boolean seen = !GraphicsEnvironment.headless && !Interpreter.isBatchMode()  // else nobody could answer
        if (fields && seen && Macro.options == null && (asks || IJ.altKeyDown())) {
            values = ask(name, script.binding.getVariable(ScriptModule.name).context(), fields)
        }
        if (values == null) {
            return
        }
        Class kept = System.properties["stormseg.door"]?.getAt(2)  // beside the door to Python
        (kept?.isCurrent() ? kept : compiled("StormSeg")).run(name, values)
    }

    private static Class compiled(String name) {
        ClassLoader above = Menu.classLoader
        while (above instanceof GroovyClassLoader) {
            above = above.parent  // it would hold what was compiled before
        }
        return new GroovyClassLoader(above).parseClass(file(name))
    }

    /** Tells one state of this file from another. */
    private static List<Long> stamp() {
        return [file("Menu").length(), file("Menu").lastModified()]
    }

    private static File file(String name) {
        return new File(IJ.getDirectory("imagej"), "stormseg/" + name + ".groovy")
    }

    /** Shows the fields, and returns what they hold; null where the person cancels. */
    private static Map<String, String> ask(String name, Context context, String fields) {
        def info = new ScriptInfo(context, name + ".groovy", new StringReader(fields.readLines()*.trim().join("\n")))
        info.label = name
        boolean agreed = false
        info.callbacks().add({ ScriptModule module -> agreed = true } as ScriptCallback)
        def module = context.service(ScriptService).run(info, true).get()
        if (!agreed) {
            return null
        }
        def filled = info.inputs()*.name.findAll { module.getInput(it) != null }
        return filled.collectEntries { [it, module.getInput(it) as String] }
    }
}
