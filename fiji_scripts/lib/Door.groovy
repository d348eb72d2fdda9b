import groovy.transform.CompileStatic

import ij.IJ
import ij.ImagePlus
import ij.Macro
import ij.Menus
import ij.WindowManager
import ij.macro.Interpreter

import java.awt.GraphicsEnvironment
import java.awt.event.KeyEvent
import java.util.concurrent.Semaphore
import java.util.concurrent.TimeUnit
import java.util.function.BooleanSupplier
import java.util.function.Function

/**
 * The way from a menu command to Python and back: one command at a time, done by the thread that called it. Its
 * interfaces are Java's own, because StormSeg may be another class with every call.
 */
@CompileStatic
class Door implements Function<Map, Boolean>, BooleanSupplier, Closeable {

    private static final String COMMAND = "import stormseg_ij.worker as w; w.command(task, call)"
    private static final String LOOK = "import stormseg_ij.worker as w; w.look(task, call)"
    private static final Map<String, String> SHORTCUTS = [
        "Next Nucleus to Review": "F6", "Redraw Nucleus": "F5", "Merge Nuclei": "F7", "Split Nucleus": "F8",
        "Delete Nuclei": "F9", "Undo Correction": "F10",
    ]
    private static final int AGAIN_MS = 3000  // Escape this long after the first one ends Python
    private static final int LOOK_MS = 30000  // a look takes far less
    private static final int SILENT_MS = 60000  // a look that asks for nothing so long hangs

    int patienceSeconds = 120  // Python's first start on a slow disk

    private final File folder
    private final Desk desk = new Desk()
    private final Semaphore free = new Semaphore(1)  // not of a thread: a window that waits may start a second command
    private final Watch watch = new Watch(this, { desk.rois.glance() }, { looked() })
    private volatile Worker worker
    private volatile String running
    private volatile boolean closed
    private volatile boolean unwanted  // the look that goes on
    private boolean escaped  // these two are of the command that runs
    private long escapedAt

    /** @param folder of these files and stormseg.properties */
    Door(File folder) {
        this.folder = folder
        putShortcuts()
    }

    /** Tells whether a command runs. */
    @Override
    boolean getAsBoolean() {
        return running != null
    }

    /** The command that runs; null where none does. */
    String getRunning() {
        return running
    }

    /** Number of Python's process; 0 where there is none. */
    long getPid() {
        Worker now = worker
        return now != null && now.isAlive() ? ((Number) now.said.get("pid") ?: 0).longValue() : 0L
    }

    /**
     * Runs a command to its end.
     *
     * @param call what w.command takes, with the image itself for its number; all of it is of the calling thread
     * @return true where it was done; null where this door was closed before, and nothing was done
     */
    @Override
    Boolean apply(Map call) {
        boolean inMacro = call.get("from_macro")
        if (inMacro && IJ.escapePressed()) {  // it was meant for the macro, which has come as far as this
            IJ.log(call.get("name").toString() + " did not start: Escape was pressed before. A script of your own " +
                "forgets that by IJ.resetEscape()")
            Macro.abort()
            return false
        }
        boolean wanted = false  // that all stops
        Map<String, Object> outcome = entered(call, inMacro)
        if (outcome == null) {
            try {
                if (closed) {
                    return null
                }
                outcome = outcomeOf(call)
                wanted = escaped || IJ.escapePressed()
            } finally {
                leave()
            }
        }
        return told(call, outcome, wanted)
    }

    /** Takes away what was put into ImageJ, and lets Python save and end: after the command or look that goes on. */
    @Override
    void close() {
        closed = true
        watch.close()
        shortcuts().each { Integer code, String name -> Menus.getShortcuts().remove(code, name) }
        shut()
    }

    // ---- one command

    /** Takes the door, and returns null; else how the command ended without it. */
    private Map<String, Object> entered(Map call, boolean inMacro) {
        long end = System.currentTimeMillis() + LOOK_MS
        boolean waits = false
        while (!Worker.unbroken { free.tryAcquire(50, TimeUnit.MILLISECONDS) }) {
            String other = running
            if (other == null && !waits) {
                waits = true
                forgetEscape(inMacro)
                IJ.showStatus("StormSeg looks at the ROI Manager first; Escape stops that")
            } else if (other == null && IJ.escapePressed()) {
                unwanted = true
                return ended("", true)
            } else if (other != null || System.currentTimeMillis() > end) {
                return ended((other ?: "StormSeg's look at the ROI Manager") +
                    " still runs; wait for it, or press Escape to stop it", false)
            }
        }
        running = call.get("name").toString()
        escaped = false
        if (waits) {
            IJ.showStatus("")
        } else {
            forgetEscape(inMacro)
        }
        return null
    }

    /** Forgets an Escape from before a person's command; in a macro it may have been pressed just now. */
    private static void forgetEscape(boolean inMacro) {
        if (!inMacro) {
            IJ.resetEscape()
        }
    }

    /** Gives the door back, after a command or a look. */
    private void leave() {
        if (running != null) {
            running = null
            IJ.showProgress(1.0d)
            watch.again()  // what the command left is looked at once
        }
        free.release()
        shut()
    }

    /** Lets Python end if the door is closed; where it is at work, who uses it does so afterwards. */
    private void shut() {
        if (closed && free.tryAcquire()) {
            worker?.close()
            free.release()
        }
    }

    private Map<String, Object> outcomeOf(Map call) {
        try {
            putShortcuts()
            return Shared.inOwnLoader { done(call) }
        } catch (Worker.Fault fault) {
            return ended(escaped ? "" : fault.getMessage(), escaped)
        } catch (LinkageError | UnsupportedOperationException missing) {
            return ended("Fiji lacks a part of Appose (" + missing + "); run stormseg install-fiji FOLDER", false)
        } catch (OutOfMemoryError full) {
            return ended(Desk.fault("run the command", full), false)
        } catch (Throwable failed) {
            if (Worker.endsThread(failed)) {
                throw failed
            }
            StringWriter trace = new StringWriter()
            failed.printStackTrace(new PrintWriter(trace))
            IJ.log(trace.toString())
            return ended(failed.toString() + "; a fault of StormSeg: the Log says where", false)
        }
    }

    private Map<String, Object> done(Map call) {
        started()
        if (escapePressed()) {
            return ended("", true)
        }
        Worker now = worker
        ImagePlus imp = (ImagePlus) call.get("image")
        Map<String, Object> sent = new LinkedHashMap<String, Object>(call)
        sent.put("image", imp == null ? null : (Object) imp.getID())
        desk.given = imp != null && WindowManager.getImage(imp.getID()) == null ? imp : null
        try {
            return now.run(
                COMMAND, [call: sent] as Map<String, Object>, { Map info -> serve(now, info) }, { escapePressed() })
        } finally {
            desk.given = null
            watch.start()
        }
    }

    private static Map<String, Object> ended(String failure, boolean stopped) {
        return [failure: failure, stopped: stopped] as Map<String, Object>
    }

    /** Starts Python if it does not run: the first time, or because it has ended. */
    private void started() {
        if (worker != null && worker.isAlive()) {
            return
        }
        Properties settings = settings()
        String python = settings.getProperty("python")
        if (!python) {
            throw new Worker.Fault(
                "Fiji does not know StormSeg's Python: " + new File(folder, "stormseg.properties") +
                " names none; run stormseg install-fiji FOLDER")
        }
        IJ.showStatus("StormSeg starts Python...")
        desk.rois.forget()
        Shared.check()
        Worker made = new Worker(folder, python)
        made.start(patienceSeconds) { escapePressed() }
        worker = made
        IJ.showStatus("")
        String version = worker.said.get("version")
        String expected = settings.getProperty("version")
        if (expected && version != expected) {
            IJ.log("StormSeg " + version + " runs, but Fiji's scripts are of " + expected +
                "; run stormseg install-fiji again")
        }
    }

    private Properties settings() {
        Properties found = new Properties()
        File file = new File(folder, "stormseg.properties")
        if (file.isFile()) {
            file.withInputStream { InputStream stream -> found.load(stream) }
        }
        return found
    }

    /** Does what Python asks for, and answers; arrays of both sides are closed after that. */
    private void serve(Worker asking, Map info) {
        Object key = info.get("key")
        String method = info.get("do").toString()
        Object value = null
        String fault = null
        try {
            try {
                Map<String, Object> values = (Map<String, Object>) info.get("with")
                Shared.attach(values)
                value = desk.answer(method, values, { escapePressed() })
            } catch (Throwable failed) {  // whatever it was: Python waits for an answer
                if (Worker.endsThread(failed)) {
                    throw failed
                }
                if (failed instanceof InterruptedException) {
                    Thread.currentThread().interrupt()  // the worker asks Python to stop
                }
                fault = Desk.fault(method, failed)
            }
            if (key != null) {
                reply(asking, key, value, fault)
            } else if (fault != null) {
                IJ.log("StormSeg: " + fault)
            }
        } finally {
            Shared.close(info)
            Shared.close(value)
        }
    }

    private void reply(Worker asking, Object key, Object value, String fault) {
        try {
            asking.answer(key, value, fault)
            desk.rois.taken()
        } catch (Throwable unfit) {  // a number that is none in what ImageJ said; too long; or Python is dead
            desk.rois.forget()
            if (Worker.endsThread(unfit)) {
                throw unfit
            }
            if (!asking.isAlive()) {
                return  // the task ends with it
            }
            asking.answer(key, null, Desk.fault("answer", unfit))
        }
    }

    /** Tells whether the person wants the command to stop; who presses Escape again, later, ends Python itself. */
    private boolean escapePressed() {
        if (IJ.escapePressed()) {
            IJ.resetEscape()
            if (!escaped) {
                escaped = true
                escapedAt = System.currentTimeMillis()
                IJ.showStatus("Stopping...")
            } else if (System.currentTimeMillis() - escapedAt > AGAIN_MS) {
                worker?.kill()
            }
        }
        return escaped
    }

    /** Says how a command ended, and ends the macro that it belongs to if that shall not go on. */
    private static boolean told(Map call, Map<String, Object> outcome, boolean escaped) {
        boolean inMacro = call.get("from_macro")
        String failure = outcome.get("failure")
        boolean stopped = (Boolean) outcome.get("stopped")
        if (inMacro && escaped) {
            IJ.setKeyDown(KeyEvent.VK_ESCAPE)  // a script's own loop looks for it
        }
        if (failure) {
            fail(call, failure)
        } else if (inMacro && (stopped || escaped)) {
            Macro.abort()
        }
        return !failure && !stopped
    }

    private static void fail(Map call, String text) {
        String name = call.get("name").toString()
        if (call.get("from_macro")) {
            Desk.shown { IJ.error(name, text) }
        } else {
            // After a macro that failed, ImageJ's own error() is silent once; and it would end a macro that runs now.
            Desk.say(name, text)
        }
    }

    // ---- what a person changes between commands

    /** Has Python look, unless a command runs; gives what it failed with, null where it did not even look. */
    private String looked() {
        Worker python = worker
        if (closed || python == null || !python.isAlive() || !free.tryAcquire()) {
            return null
        }
        try {
            unwanted = false
            return Shared.inOwnLoader { look(python) }
        } catch (Worker.Fault fault) {
            return fault.getMessage()
        } finally {
            leave()
        }
    }

    private String look(Worker python) {
        Map<String, Object> call = [
            from_macro: false, batch: Interpreter.isBatchMode(), headless: GraphicsEnvironment.isHeadless(),
            imagej: IJ.getVersion(),
        ] as Map<String, Object>
        long heard = System.currentTimeMillis()
        Closure<?> serving = { Map info ->
            serve(python, info)
            heard = System.currentTimeMillis()
        }
        Closure<Boolean> stopping = {
            if (System.currentTimeMillis() - heard > SILENT_MS) {
                python.kill()
            }
            return unwanted
        }
        Map<String, Object> outcome = python.run(LOOK, [call: call] as Map<String, Object>, serving, stopping)
        return outcome.get("failure") ?: (outcome.get("stopped") ? "stopped by Escape" : "")
    }

    // ---- function keys

    /** The commands' names by the codes of their keys, as where Python hosts ImageJ; none without menus. */
    private static Map<Integer, String> shortcuts() {
        Map<Integer, String> found = new HashMap<Integer, String>()
        if (Menus.getShortcuts() != null) {
            SHORTCUTS.each { String name, String key -> found.put(Menus.convertShortcutToCode(key), name) }
        }
        return found
    }

    /** Gives commands their keys, which ImageJ forgets with Refresh Menus; keys in use stay with what they are. */
    private static void putShortcuts() {
        shortcuts().each { Integer code, String name ->
            if (!Menus.getMacroShortcuts().containsKey(code)) {
                Menus.getShortcuts().putIfAbsent(code, name)
            }
        }
    }
}
