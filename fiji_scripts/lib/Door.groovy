import groovy.transform.CompileStatic

import ij.CommandListener
import ij.Executer
import ij.IJ
import ij.ImagePlus
import ij.Macro
import ij.Menus
import ij.WindowManager
import ij.macro.Interpreter

import java.awt.GraphicsEnvironment
import java.util.concurrent.Semaphore
import java.util.concurrent.TimeUnit
import java.util.function.BooleanSupplier
import java.util.function.Function

/**
 * The way from a menu command to Python and back: one command at a time, done by the thread that called it. Its
 * interfaces are Java's own, because StormSeg is another class with every call.
 */
@CompileStatic
class Door implements Function<Map, Boolean>, BooleanSupplier, Closeable, CommandListener {

    private static final String COMMAND = "import stormseg_ij.worker as w; w.command(task, call)"
    private static final String LOOK = "import stormseg_ij.worker as w; w.look(task, call)"
    private static final Map<String, String> SHORTCUTS = [
        "Next Nucleus to Review": "F6", "Redraw Nucleus": "F5", "Merge Nuclei": "F7", "Split Nucleus": "F8",
        "Delete Nuclei": "F9", "Undo Correction": "F10",
    ]
    private static final List<String> CLOSING = ["Close", "Close All", "Quit"]
    private static final int WATCH_MS = 2000
    private static final int AGAIN_MS = 3000  // Escape this long after the first one ends Python
    private static final int LOOK_SECONDS = 30  // a look takes far less
    private static final int CLOSING_MS = 1500

    int patienceSeconds = 120  // Python's first start on a slow disk

    private final File folder
    private final Desk desk = new Desk()
    private final Semaphore free = new Semaphore(1)  // not of a thread: a window that waits may start a second command
    private Worker worker
    private volatile String running
    private volatile Object seen
    private volatile boolean closed
    private String complaint
    private Timer watch
    private boolean escaped
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
     * @return true where it was done
     */
    @Override
    Boolean apply(Map call) {
        String name = call.get("name").toString()
        String busy = enter(name)
        if (busy != null) {
            fail(call, busy + " still runs; wait for it, or press Escape to stop it")
            return false
        }
        Map<String, Object> outcome
        try {
            IJ.resetEscape()
            escaped = false
            outcome = outcomeOf(call)
        } finally {
            IJ.showProgress(1.0d)
            running = null
            seen = null  // what the command left is looked at once
            free.release()
        }
        String failure = outcome.get("failure")
        boolean stopped = (Boolean) outcome.get("stopped")
        if (failure) {
            fail(call, failure)
        } else if (stopped && call.get("from_macro")) {
            Macro.abort()
        }
        return !failure && !stopped
    }

    /** Lets Python save and end, and takes away what was put into ImageJ. */
    @Override
    synchronized void close() {
        closed = true
        if (watch != null) {
            watch.cancel()
            Executer.removeCommandListener(this)
        }
        if (worker != null) {
            worker.close()
        }
    }

    // ---- one command

    /** Takes the door; else gives the name of the command that has it. */
    private String enter(String name) {
        long end = System.currentTimeMillis() + 1000L * LOOK_SECONDS
        while (!free.tryAcquire(50, TimeUnit.MILLISECONDS)) {
            String other = running
            if (other != null) {
                return other
            }
            if (System.currentTimeMillis() > end) {  // else it is a look, which is short
                return "StormSeg's look at the ROI Manager"
            }
        }
        running = name
        return null
    }

    private Map<String, Object> outcomeOf(Map call) {
        try {
            return Shared.inOwnLoader { done(call) }
        } catch (Worker.Fault fault) {
            return ended(escaped ? "" : fault.getMessage(), escaped)
        } catch (LinkageError | UnsupportedOperationException missing) {
            return ended("Fiji lacks a part of Appose (" + missing + "); run stormseg install-fiji FOLDER", false)
        } catch (RuntimeException failed) {
            worker?.kill()  // it may wait for answers that nobody gives any more
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
            startWatch()
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
        } catch (RuntimeException unfit) {  // a number that is none in what ImageJ said; or Python is dead
            desk.rois.forget()
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
            } else if (System.currentTimeMillis() - escapedAt > AGAIN_MS && worker != null) {
                worker.kill()
            }
        }
        return escaped
    }

    private static void fail(Map call, String text) {
        String name = call.get("name").toString()
        if (call.get("from_macro")) {
            IJ.error(name, text)
        } else {
            // After a macro that failed, ImageJ's own error() is silent once; and it would end a macro that runs now.
            IJ.showMessage(name, text)
        }
    }

    // ---- what a person changes between commands

    /** Looks for changes from now on: those that nobody notes would be lost when Fiji ends. */
    private synchronized void startWatch() {
        if (watch != null || closed || GraphicsEnvironment.isHeadless()) {
            return
        }
        watch = new Timer("StormSeg watch", true)
        watch.schedule(new TimerTask() {
            @Override
            void run() {
                lookIfChanged()
            }
        }, WATCH_MS, WATCH_MS)
        Executer.addCommandListener(this)
    }

    private void lookIfChanged() {
        try {
            if (IJ.getInstance() == null || Interpreter.isBatchMode() || running != null) {
                return
            }
            Object now = desk.rois.glance()
            if (now != seen && looked()) {
                seen = now
            }
        } catch (Throwable failed) {  // it would end the watch without a word
            complain(failed.toString())
        }
    }

    /** Has Python look, unless a command runs; true where it did. */
    private boolean looked() {
        Worker now = worker
        if (closed || now == null || !now.isAlive() || !free.tryAcquire()) {
            return false
        }
        try {
            Map<String, Object> call = [
                from_macro: false, batch: Interpreter.isBatchMode(), headless: GraphicsEnvironment.isHeadless(),
                imagej: IJ.getVersion(),
            ] as Map<String, Object>
            Shared.inOwnLoader {
                now.run(LOOK, [call: call] as Map<String, Object>, { Map info -> serve(now, info) }, { false })
            }
        } catch (Worker.Fault fault) {
            complain(fault.getMessage())
        } finally {
            free.release()
        }
        return true
    }

    private void complain(String text) {
        if (text != complaint && !closed) {
            complaint = text
            IJ.log("StormSeg could not look for changes: " + text)
        }
    }

    /**
     * Looks while the list is whole, before ImageJ closes an image or itself. In another thread, and not for long:
     * ImageJ holds a lock meanwhile, for which the thread that paints may wait, and that one reads the list.
     */
    @Override
    String commandExecuting(String command) {
        if (command in CLOSING && running == null && !Interpreter.isBatchMode()) {
            Thread looking = new Thread({ lookIfChanged() } as Runnable, "StormSeg look")
            looking.setDaemon(true)
            looking.start()
            looking.join(CLOSING_MS)
        }
        return command
    }

    // ---- function keys

    /** Gives commands their keys, as where Python hosts ImageJ; keys that are in use stay with what they are. */
    private static void putShortcuts() {
        Map<Integer, String> taken = Menus.getShortcuts()
        Map<Integer, String> macros = Menus.getMacroShortcuts()
        if (taken == null || macros == null) {
            return
        }
        for (Map.Entry<String, String> one : SHORTCUTS.entrySet()) {
            Integer code = Menus.convertShortcutToCode(one.value)
            if (!taken.containsKey(code) && !macros.containsKey(code)) {
                taken.put(code, one.key)
            }
        }
    }
}
