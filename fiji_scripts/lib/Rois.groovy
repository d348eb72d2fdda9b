import groovy.transform.CompileStatic

import ij.ImagePlus
import ij.gui.ImageCanvas
import ij.gui.OvalRoi
import ij.gui.Roi
import ij.io.RoiDecoder
import ij.io.RoiEncoder
import ij.plugin.frame.Recorder
import ij.plugin.frame.RoiManager
import ij.process.FloatPolygon

import java.awt.Color
import java.awt.EventQueue
import java.awt.GraphicsEnvironment
import java.awt.geom.Rectangle2D
import java.util.concurrent.Callable
import java.util.concurrent.ExecutionException
import java.util.concurrent.FutureTask

/**
 * ImageJ's ROI Manager: what is in it, put in and taken out without touching the rest. As
 * stormseg_ij/bridge/manager.py; but identities are numbers of ours, and bytes that Python knows are not sent again.
 *
 * The lock of these maps is held only while they are read or written, never while another thread is waited for: the
 * one that paints windows may want the lock itself.
 */
@CompileStatic
class Rois {

    private static final int REPAINTED = 10  // so many deletions may repaint the image one after the other
    private static final int LEAST_KEPT = 20_000  // so many ROIs are remembered before those that have left the list
    private static final long PRIME = 0x100000001B3L  // of the hash FNV-1a

    private Map<Roi, Long> identities = new IdentityHashMap<Roi, Long>()
    private Map<Long, byte[]> sent = new HashMap<Long, byte[]>()  // what Python has, of the list as it saw it last
    private Map<Long, byte[]> answered  // what it has next, once it has taken the answer
    private int most = LEAST_KEPT
    private long last = 0

    /** Forgets what was sent: there is another worker, or an answer was lost. */
    synchronized void forget() {
        sent = new HashMap<Long, byte[]>()
        answered = null
    }

    /** Notes that Python has what entries() gave: to be called after each reply that Python has taken. */
    synchronized void taken() {
        if (answered != null) {
            sent = answered
            answered = null
        }
    }

    /** All ROIs in the list's order, read at one moment; null where no ROI Manager is open. */
    Map entries() {
        RoiManager manager = instance()
        if (manager == null) {
            return null
        }
        List<byte[]> files = new ArrayList<byte[]>()
        List<Integer> drawnIn = new ArrayList<Integer>()
        // Painting gives ROIs without a colour one for a moment: in the thread that paints, no such moment is seen.
        Roi[] listed = onEventThread(manager.isVisible()) {
            Roi[] rois = manager.getRoisAsArray()
            for (Roi roi : rois) {
                files.add(RoiEncoder.saveAsByteArray(roi))
                drawnIn.add(roi.getImageID())
            }
            return rois
        }
        List<Long> numbers = identitiesOf(listed)
        return [identities: numbers, drawn_in: drawnIn, changed: changed(numbers, files)]
    }

    /**
     * One number of what a person changes in the list: the ROIs and their order, every corner, names, planes, groups,
     * colours, line widths, properties. Cheap, to see whether to look at all; null where no ROI Manager is open.
     */
    Long glance() {
        RoiManager manager = instance()
        if (manager == null) {
            return null
        }
        return onEventThread(manager.isVisible()) {
            long seen = 0
            for (Roi roi : manager.getRoisAsArray()) {
                seen = mixed(seen, roi)
            }
            return (Long) seen
        }
    }

    /** Indexes of the selected entries, ascending. */
    List<Integer> selected() {
        RoiManager manager = instance()
        return manager == null ? new ArrayList<Integer>() : manager.getSelectedIndexes().toList()
    }

    /** Adds ROIs at the end, and shows all on the image if it is given; gives their identities. */
    List<Long> append(List<String> rois, ImagePlus imp) {
        if (rois.isEmpty()) {
            return new ArrayList<Long>()
        }
        RoiManager manager = opened()
        List<Roi> made = rois.collect { String roi -> decoded(roi) }
        List<Long> added = onEventThread(manager.isVisible()) {
            // Adding one as the button does would repaint the image each time.
            return made.collect { Roi roi ->
                manager.add(imp, roi, -1)
                return identity(manager.getRoi(manager.getCount() - 1))
            }
        }
        if (imp != null) {
            showAll(imp)
        }
        return added
    }

    /** Puts a ROI in the place of another, with its own name; gives its identity, null where that one is gone. */
    Long replace(long old, String roi) {
        RoiManager manager = opened()
        Roi made = decoded(roi)
        return onEventThread(manager.isVisible()) {
            int place = identitiesOf(manager.getRoisAsArray()).indexOf(old)
            if (place < 0) {
                return (Long) null
            }
            String name = made.getName()
            manager.setRoi(made, place)
            manager.rename(place, name)
            return identity(manager.getRoi(place))
        }
    }

    /** Takes ROIs out, and repaints the image if it is given; those that are gone already are none. */
    void delete(Collection<Long> doomed, ImagePlus imp) {
        RoiManager manager = instance()
        if (manager == null || doomed.isEmpty()) {
            return
        }
        Set<Long> wanted = new HashSet<Long>(doomed)
        boolean shown = imp != null && showsAll(imp)
        if (shown && wanted.size() > REPAINTED) {
            manager.runCommand(imp, "Show None")
        }
        unrecorded {
            onEventThread(manager.isVisible()) {
                List<Long> listed = identitiesOf(manager.getRoisAsArray())
                for (int i = listed.size() - 1; i >= 0; i--) {
                    if (listed.get(i) in wanted) {
                        manager.delete(i)
                    }
                }
            }
        }
        if (shown && wanted.size() > REPAINTED) {
            showAll(imp)
        }
    }

    /** Selects one entry, in the list and as the image's selection. */
    void select(ImagePlus imp, int index) {
        RoiManager manager = opened()
        unrecorded { manager.selectAndMakeVisible(imp, index) }
    }

    /** Selects no entry. */
    void deselect() {
        RoiManager manager = instance()
        if (manager != null && manager.getSelectedIndexes().length > 0) {
            unrecorded { manager.setSelectedIndexes(new int[0]) }
        }
    }

    /** The ROIs in the list by their identities, read at one moment; empty where no ROI Manager is open. */
    Map<Long, Roi> listed() {
        RoiManager manager = instance()
        Map<Long, Roi> found = new HashMap<Long, Roi>()
        if (manager != null) {
            Roi[] rois = onEventThread(manager.isVisible()) { manager.getRoisAsArray() }
            List<Long> numbers = identitiesOf(rois)
            for (int i = 0; i < rois.length; i++) {
                found.put(numbers.get(i), rois[i])
            }
        }
        return found
    }

    /** Makes a ROI of a .roi file in base64. */
    static Roi decoded(String roi) {
        Roi made = RoiDecoder.openFromByteArray(Base64.getDecoder().decode(roi))
        if (made == null) {
            throw new IllegalStateException("ImageJ could not take a ROI: these are not the bytes of a .roi file")
        }
        return made
    }

    /** Writes a ROI as a .roi file in base64. */
    static String encoded(Roi roi) {
        return text(RoiEncoder.saveAsByteArray(roi))
    }

    private static String text(byte[] file) {
        return Base64.getEncoder().encodeToString(file)
    }

    // ---- identities, and what Python knows

    /** The number of a ROI object, the same as long as the list holds it; Update puts another object there. */
    private synchronized Long identity(Roi roi) {
        Long found = identities.get(roi)
        if (found == null) {
            found = ++last
            identities.put(roi, found)
        }
        return found
    }

    /**
     * The numbers of all in the list. Others are forgotten only where they are many, for they would stay in memory: a
     * macro may have a list of its own for a while, and after that the person's is there again.
     */
    private synchronized List<Long> identitiesOf(Roi[] listed) {
        if (identities.size() > most) {
            Map<Roi, Long> kept = new IdentityHashMap<Roi, Long>()
            for (Roi roi : listed) {
                kept.put(roi, identity(roi))
            }
            identities = kept
            most = LEAST_KEPT + 2 * kept.size()
        }
        return listed.collect { Roi roi -> identity(roi) }
    }

    /** The files that Python has not, by identity; as it does, so we forget what is not in the list. */
    private synchronized Map<String, String> changed(List<Long> numbers, List<byte[]> files) {
        Map<String, String> found = new LinkedHashMap<String, String>()
        answered = new HashMap<Long, byte[]>()
        for (int i = 0; i < files.size(); i++) {
            Long identity = numbers.get(i)
            answered.put(identity, files.get(i))
            if (!Arrays.equals(files.get(i), sent.get(identity))) {
                found.put(identity.toString(), text(files.get(i)))
            }
        }
        return found
    }

    // ---- a hash of what is seen of a ROI

    private static long mixed(long seen, Roi roi) {
        long hash = mixed(seen, System.identityHashCode(roi))
        hash = mixed(hash, Objects.hashCode(roi.getName()))
        hash = mixed(hash, Objects.hashCode(roi.getProperties()))
        hash = mixed(hash, roi.getPosition())
        hash = mixed(hash, roi.getCPosition())
        hash = mixed(hash, roi.getZPosition())
        hash = mixed(hash, roi.getTPosition())
        hash = mixed(hash, roi.getGroup())
        hash = mixed(hash, colour(roi.getStrokeColor()))
        hash = mixed(hash, colour(roi.getFillColor()))
        hash = mixed(hash, Float.floatToRawIntBits(roi.getStrokeWidth()))
        if (roi instanceof OvalRoi) {  // its box says all, and its corners take long
            Rectangle2D.Double box = roi.getFloatBounds()
            hash = mixed(mixed(hash, Double.doubleToRawLongBits(box.getX())), Double.doubleToRawLongBits(box.getY()))
            hash = mixed(hash, Double.doubleToRawLongBits(box.getWidth()))
            return mixed(hash, Double.doubleToRawLongBits(box.getHeight()))
        }
        FloatPolygon outline = roi.getFloatPolygon()
        int count = outline == null ? 0 : outline.npoints
        for (int i = 0; i < count; i++) {
            hash = mixed(hash, Float.floatToRawIntBits(outline.xpoints[i]))
            hash = mixed(hash, Float.floatToRawIntBits(outline.ypoints[i]))
        }
        return mixed(hash, count)
    }

    private static int colour(Color colour) {
        return colour == null ? 0 : colour.getRGB()
    }

    private static long mixed(long hash, long more) {
        return (hash ^ more) * PRIME
    }

    // ---- the ROI Manager

    private static boolean showsAll(ImagePlus imp) {
        ImageCanvas canvas = imp.getCanvas()
        return canvas != null && canvas.getShowAllList() != null
    }

    /** Ticks "Show All"; the image keeps its selection. */
    private static void showAll(ImagePlus imp) {
        RoiManager manager = instance()
        if (manager != null && imp.getWindow() != null) {
            Roi selection = imp.getRoi()
            manager.runCommand(imp, "Show All")
            if (selection != null) {
                imp.setRoi(selection)
            }
        }
    }

    private static RoiManager instance() {
        return GraphicsEnvironment.isHeadless() ? null : RoiManager.getInstance2()
    }

    private static RoiManager opened() {
        if (GraphicsEnvironment.isHeadless()) {
            throw new IllegalStateException("the ROI Manager needs a display; use the Overlay")
        }
        RoiManager found = instance()
        return found != null ? found : RoiManager.getRoiManager()
    }

    /** Keeps what is selected out of the recorder: the command's own line selects it again. */
    private static void unrecorded(Closure<?> work) {
        boolean before = Recorder.record
        Recorder.record = false
        try {
            work.call()
        } finally {
            Recorder.record = before
        }
    }

    /**
     * Does work in the thread that paints windows, where lists that are shown must be changed; waits for it, and gives
     * its result. What is not on a screen needs no other thread.
     *
     * Who is interrupted waits on, and is interrupted after that: what was told as failed would be done all the same.
     */
    static <T> T onEventThread(boolean visible, Closure<T> work) {
        if (!visible || EventQueue.isDispatchThread()) {
            return work.call()
        }
        FutureTask<T> task = new FutureTask<T>({ work.call() } as Callable<T>)
        EventQueue.invokeLater(task)
        boolean interrupted = false
        try {
            while (true) {
                try {
                    return task.get()
                } catch (InterruptedException meanwhile) {
                    interrupted = true
                }
            }
        } catch (ExecutionException failed) {
            throw failed.getCause()
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt()
            }
        }
    }
}
