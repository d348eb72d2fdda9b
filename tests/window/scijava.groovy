import ij.ImagePlus
import ij.Macro

import org.scijava.Context
import org.scijava.Priority
import org.scijava.convert.ConvertService
import org.scijava.log.LogService
import org.scijava.module.Module
import org.scijava.module.ModuleService
import org.scijava.module.process.AbstractPreprocessorPlugin
import org.scijava.module.process.PreprocessorPlugin
import org.scijava.plugin.Plugin
import org.scijava.plugin.PluginInfo
import org.scijava.plugin.PluginService
import org.scijava.prefs.PrefService
import org.scijava.script.AdaptedScriptLanguage
import org.scijava.script.ScriptFinder
import org.scijava.script.ScriptInfo
import org.scijava.script.ScriptLanguage
import org.scijava.script.ScriptService

/** Groovy for SciJava, as its own scripting-groovy declares it. */
@Plugin(type = ScriptLanguage.class, name = "Groovy")
class GroovyLanguage extends AdaptedScriptLanguage {
    GroovyLanguage() { super("groovy") }
}

/** A person before SciJava's dialog: sees the fields that are not resolved, and fills some. */
@Plugin(type = PreprocessorPlugin.class, priority = Priority.VERY_LOW)
class Asker extends AbstractPreprocessorPlugin {
    static List dialogs = []
    static Map<String, Object> answers = [:]

    void process(Module module) {
        def open = module.info.inputs().findAll { !module.isInputResolved(it.name) }
        if (!open) {
            return
        }
        dialogs << [title: module.info.title, fields: open.collect { item -> [
            name: item.name, type: item.type.simpleName, label: item.label, description: item.description,
            value: String.valueOf(module.getInput(item.name)), minimum: item.minimumValue, maximum: item.maximumValue,
            step: item.stepSize, choices: item.choices?.collect { String.valueOf(it) } ?: [],
            visibility: String.valueOf(item.visibility), required: item.required, persisted: item.persisted,
            key: item.persistKey, style: item.widgetStyle,
        ] }]
        if (answers == null) {
            cancel("")
            return
        }
        answers.each { key, value -> module.setInput(key, convert(module, key, value)) }
        open.each { module.resolveInput(it.name) }
    }

    private Object convert(Module module, String key, Object value) {
        def type = module.info.getInput(key).type
        type.isInstance(value) ? value : context().service(ConvertService).convert(value, type)
    }
}

/** A Fiji's scripts, found and run by SciJava itself. */
class SciJava {
    final Context context
    final ScriptService scripts
    final Map<String, ScriptInfo> found = [:]
    final List<Object> errors = []

    /**
     * @param folder Fiji's folder of scripts
     * @param remembered an empty folder, for what dialogs remember
     */
    SciJava(File folder, File remembered) {
        System.setProperty("java.util.prefs.userRoot", remembered.path)
        Thread.currentThread().contextClassLoader = SciJava.classLoader
        context = new Context(ScriptService, ConvertService, ModuleService, PrefService, LogService, PluginService)
        def plugins = context.service(PluginService)
        plugins.addPlugin(new PluginInfo(GroovyLanguage, ScriptLanguage))
        plugins.addPlugin(new PluginInfo(Asker, PreprocessorPlugin))
        context.service(LogService).addLogListener { message -> errors << message }
        scripts = context.service(ScriptService)
        scripts.addAlias(ImagePlus)
        scripts.addScriptDirectory(folder)
        def infos = []
        new ScriptFinder(context, null).findScripts(infos)
        infos.each { found[it.menuPath.menuString] = it }
    }

    /** What SciJava logged above the level of information, and forgets then. */
    List<String> logged() {
        def texts = errors.findAll { it.level() <= 2 }.collect { it.text() + (it.throwable() ? "\n" + it.throwable() : "") }
        errors.clear()
        texts
    }

    /** Runs a script of the menu; its dialogs are answered, or cancelled where there are no answers. Waits for its end. */
    Object menu(String path, Map<String, Object> answers) {
        Thread.currentThread().contextClassLoader = SciJava.classLoader  // SciJava's threads inherit it
        Asker.dialogs = []
        Asker.answers = answers
        scripts.run(found[path], true).get().returnValue
    }

    /**
     * Runs a script as a macro's command does in Fiji: in a thread of SciJava's, for which the macro's own waits. Waits
     * for its end.
     *
     * In Fiji that thread finds the options that were given to the macro's, among its ancestors. ImageJ alone finds
     * only a thread's own, and only if the thread is named as a macro's or as one of RMI: so it is named here.
     */
    void macro(String path, String options) {
        Asker.dialogs = []
        Asker.answers = null
        def module = found[path].createModule()
        context.inject(module)
        def macro = new Thread({
            def child = new Thread({ module.run() }, "RMI TCP for SciJava-1")
            Macro.setOptions(child, options)
            child.start()
            child.join()
            Macro.setOptions(child, null)
        }, "Run\$_Macro\$")
        macro.contextClassLoader = SciJava.classLoader
        macro.start()
        macro.join()
    }

    /** The fields and titles of the dialogs that the last script opened. */
    List dialogs() { Asker.dialogs }

    void close() { context.dispose() }
}

SciJava
